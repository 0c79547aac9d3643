// Notes how long each message was on its way: microseconds, by the clock that all threads share.
let latencies;

export default function handler(message, { data }) {
  const now = process.hrtime.bigint();
  latencies ??= new Float64Array(data);
  latencies[message.body.readUInt32LE(8)] = Number(now - message.body.readBigUInt64LE(0)) / 1000;
}
