#!/bin/bash
# Proves the README's first promise where nothing is prepared: in a Debian root made for
# the purpose, with git, a C++ toolchain, Python (for node-gyp) and this machine's Node,
# a clone of HEAD is started with `npm start`, asked what the README asks, and tested
# with `npm test`. Needs root rights and debootstrap.
#
#   scripts/fresh-root.sh [folder]     keeps the bare root in the folder for the next time

set -euo pipefail
set -m  # what runs in the background gets a process group of its own, as under a terminal

repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
folder=${1:-$(mktemp -d)}
bare=$folder/bare
root=$folder/root

say() { printf '\n== %s\n' "$*"; }

# The mount and process namespaces end with this script, and everything in them.
if [ -z "${UWSHM_FRESH_INSIDE:-}" ]; then
  UWSHM_FRESH_INSIDE=1 exec unshare --mount --pid --fork --kill-child "$0" "$folder"
fi

if [ ! -e "$bare/.complete" ]; then
  say "making a bare root in $bare"
  mirror=$(find /etc/apt -name '*.list' -o -name '*.sources' | xargs cat |
    sed -n -e 's/^URIs: *\([^ ]*\/debian\) *$/\1/p' -e 's/^deb \(\[[^]]*\] \)\?\([^ ]*\/debian\/\?\) .*/\2/p' | head -n 1)
  rm -rf "$bare"
  mkdir -p "$bare"
  debootstrap --variant=minbase --include=git,g++,make,python3 "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
    "$bare" "$mirror" > "$folder/debootstrap.log" || { tail "$folder/debootstrap.log"; exit 1; }

  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  mkdir -p "$bare/usr/lib/node_modules" "$bare/usr/include" "$bare/etc/ssl/certs"
  cp "$prefix/bin/node" "$bare/usr/bin/"
  cp -a "$prefix/lib/node_modules/npm" "$bare/usr/lib/node_modules/"
  cp -a "$prefix/include/node" "$bare/usr/include/"
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$bare/usr/bin/npm"
  cp -L /etc/ssl/certs/ca-certificates.crt "$bare/etc/ssl/certs/"
  touch "$bare/.complete"
fi

say 'a fresh copy of it, with a clone of HEAD'
rm -rf "$root"
cp -a "$bare" "$root"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
git clone --quiet --no-local "$repository" "$root/root/uwshm"
git -C "$root/root/uwshm" log -1 --oneline
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"

registry=$(npm config get registry 2>/dev/null)
inside() {
  env -i HOME=/root PATH=/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
    npm_config_registry="$registry" npm_config_update_notifier=false \
    chroot "$root" bash -c "cd /root/uwshm && exec $1"
}

say 'npm start'
began=$SECONDS
log=$folder/start.log
inside 'npm start' > "$log" 2>&1 &
start=$!
until grep -q 'In another terminal' "$log"; do
  kill -0 "$start" 2>/dev/null || { cat "$log"; echo 'npm start ended early' >&2; exit 1; }
  sleep 0.2
done
cat "$log"
say "ready after $((SECONDS - began)) s; the lines it printed"

sed -n 's/^  \(for .*done\|nc [0-9. ]*[0-9]\) .*/\1/p' "$log" | while read -r line; do
  printf '$ %s\n' "$line"
  bash -c "$line" > "$folder/answer" 2> /dev/null
  head -n 30 "$folder/answer"
done
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -s 127.0.0.1:8080; done > "$folder/answers"
pids=$(cut -d' ' -f2 "$folder/answers" | sort -u | wc -l)
counts=$(grep -o '[0-9]*$' "$folder/answers" | sort -nu | wc -l)
[ "$pids" -ge 2 ] && [ "$counts" -eq 12 ] || { cat "$folder/answers"; echo "12 answers: $pids pids, $counts counts" >&2; exit 1; }
echo "12 answers from $pids pids, 12 different counts"

say 'Ctrl-C'
kill -INT -- "-$start"
wait "$start" || true
if curl -s --max-time 1 127.0.0.1:8080 > /dev/null; then echo 'somebody still serves' >&2; exit 1; fi

say 'npm test'
inside 'npm test'
say "all in $((SECONDS - began)) s"
