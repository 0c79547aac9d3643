// Sends each body back by the queue "answers".
let answers;

export default async function handler(message, { broker }) {
  answers ??= await broker.queue("answers", { codec: "bytes" });
  answers.trySend(message.body);
}
