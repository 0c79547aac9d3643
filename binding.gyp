{
  # The addon is the target `millrace`. With native_tests=1 there are also the executables millrace_test,
  # millrace_testthread (ThreadSanitizer), millrace_testaddress (Address- and UndefinedBehaviorSanitizer):
  # `sanitize` says which one is defined, and a name of its own gives each its own objects, so that none of
  # them rebuilds another or the addon. setup.mjs names the target it wants, one at a time.
  "variables": {
    "native_tests%": 0,
    "sanitize%": "",
    "core": "native/base native/os native/ring native/log native/ledger native/engine",
    "sources_of": "node -e \"process.argv.slice(1).filter(d=>fs.existsSync(d)).forEach(d=>fs.readdirSync(d,{recursive:true}).filter(f=>f.endsWith('.cc')).sort().forEach(f=>console.log(d+'/'+f)))\""
  },
  "target_defaults": {
    "include_dirs": ["native"],
    "cflags": ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-Wno-unused-parameter", "-fno-omit-frame-pointer"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": ["-std=c++20"],
    "defines": ["_FILE_OFFSET_BITS=64"]
  },
  "targets": [
    {
      "target_name": "millrace",
      "sources": ["<!@(<(sources_of) <(core) native/addon)"],
      # No C++ exceptions: the core reports with Status and is compiled without them (node-gyp's default), so there is
      # nothing to unwind through it. SWALLOW: what cannot be thrown because the thread ends is no reason to end the process.
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "MILLRACE_VERSION=\"<!(node -p \"require('./package.json').version\")\""],
      # Other people's headers come in as system headers, so that warnings are errors in our own files only.
      # (That is why the node_addon_api target is not a dependency: it would bring them in with -I.) The
      # compiler runs in build/, include_dir is relative to this folder: hence the "../".
      "cflags_cc": ["-O3", "-isystem../<!(node -p \"require('node-addon-api').include_dir\")", "-isystem<(node_root_dir)/include/node"],
      # nodelete: a thread that ends must not unload code that others run. The script hides every symbol but the
      # entry: two copies of the addon in one process, of one version or of two, must share nothing.
      "ldflags": ["-Wl,-z,nodelete", "-Wl,--version-script=../native/addon/exports.map"]
    }
  ],
  "conditions": [
    ["native_tests==1", {
      "targets": [
        {
          "target_name": "millrace_test<(sanitize)",
          "type": "executable",
          "sources": ["<!@(<(sources_of) <(core) test/native)"],
          "include_dirs": ["test/native"],
          "defines": ["MILLRACE_CHECK_LOCKS"],
          "libraries": ["-lpthread"],
          "conditions": [
            ["sanitize==''", {"cflags_cc": ["-O2"]}],
            ["sanitize!=''", {"cflags_cc": ["-O1", "-g1"], "cflags": ["-Wno-error=maybe-uninitialized"], "defines": ["_GLIBCXX_ASSERTIONS"]}],
            ["sanitize=='thread'", {"cflags": ["-fsanitize=thread"], "ldflags": ["-fsanitize=thread"]}],
            ["sanitize=='address'", {"cflags": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"], "ldflags": ["-fsanitize=address,undefined"]}]
          ]
        },
        {
          "target_name": "millrace_bench",
          "type": "executable",
          "sources": ["<!@(<(sources_of) <(core) bench/native)"],
          "libraries": ["-lpthread"],
          "cflags_cc": ["-O3"]
        }
      ]
    }]
  ]
}
