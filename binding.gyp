# One binary for Node 20, 22 and 24: Node-API 8, nothing of V8. Exceptions and
# RTTI stay off, as in Node's own defaults. `nodelete` keeps our native thread's
# code mapped when the worker_thread that alone had loaded the addon ends.
{
  'targets': [{
    'target_name': 'uwshm',
    'sources': [
      '<!@(node -p "[\'native/cpp\', \'native/cpp/locks\', \'native/cpp/binding\'].flatMap((folder) => fs.readdirSync(folder).filter((name) => name.endsWith(\'.cpp\')).map((name) => folder + \'/\' + name)).join(\' \')")',
    ],
    'include_dirs': [
      'native/cpp',
      '<!(node -p "require(\'node-addon-api\').include_dir")',
    ],
    'defines': [
      'NAPI_VERSION=8',
      'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS',
      'NODE_ADDON_API_DISABLE_DEPRECATED',
    ],
    'cflags!': ['-O3'],
    'cflags_cc!': ['-O3', '-std=gnu++17', '-std=gnu++20'],
    'cflags': ['-O2', '-Wall', '-Wextra', '-fvisibility=hidden', '-fno-plt', '-fstack-protector-strong', '-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2', '-pthread'],
    'cflags_cc': ['-std=c++17', '-fvisibility-inlines-hidden'],
    'ldflags': ['-pthread', '-Wl,-z,nodelete', '-Wl,-z,relro,-z,now'],
    'libraries': ['-lrt'],
  }],
}
