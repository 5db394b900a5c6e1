#!/bin/sh
# Prints a directory where redis-server and redis-cli are those of Valkey 9 or later: $REDSTART_TEST_VALKEY, or one that it makes in the
# user's cache of Debian unstable, with the libraries of that, and nothing of it anywhere else. Where it cannot be had it prints
# nothing, and the tests say what they leave out.
set -eu
if [ -n "${REDSTART_TEST_VALKEY:-}" ]; then
	echo "$REDSTART_TEST_VALKEY"
	exit
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/redstart/valkey
works() { "$1/redis-server" --version 2>/dev/null | grep -Eq 'Valkey server v=(9|[1-9][0-9]+)\.'; }
if works "$cache/bin"; then
	echo "$cache/bin"
	exit
fi
leave_out() {
	echo "Valkey 9 cannot be had: $*. The tests leave it out." >&2
	exit
}
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || leave_out "there is no apt-get"
# Where this system gets its packages from, in either form of sources.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
	sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *(http[^ ]*\/debian\/?)( .*|$)/\3/p' | head -n 1)
[ -n "$mirror" ] || leave_out "this is no Debian"

echo "Getting Valkey 9 with apt-get, for the tests alone." >&2
rm -rf "$cache"
mkdir -p "$cache/lists/partial" "$cache/archives/partial" "$cache/root" "$cache/bin"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$cache/sources.list"
apt() {
	apt-get -q -o Dir::State::Lists="$cache/lists" -o Dir::Cache="$cache" -o Dir::Cache::archives="$cache/archives" \
		-o Dir::Etc::SourceList="$cache/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@" >&2
}
apt update >/dev/null 2>&1 || leave_out "apt-get update failed"
(cd "$cache/archives" && apt download valkey-server valkey-tools libatomic1 libc6 libcap2 libgcc-s1 libjemalloc2 liblua5.1-0 liblzf1 libssl3t64 \
	libstdc++6 libsystemd0 libzstd1 zlib1g >/dev/null 2>&1) || leave_out "apt-get download failed"
for package in "$cache"/archives/*.deb; do
	dpkg-deb -x "$package" "$cache/root" || leave_out "$package is no package"
done
rm -rf "$cache/lists" "$cache/archives"
loader=$(find "$cache/root" -name 'ld-linux*.so.*' | head -n 1)
libraries=$(dirname "$(find "$cache/root" -name libc.so.6 | head -n 1)")
for program in server cli benchmark; do
	printf '#!/bin/sh\nexec "%s" --argv0 redis-%s --library-path "%s" "%s" "$@"\n' "$loader" "$program" "$libraries" \
		"$cache/root/usr/bin/valkey-$program" >"$cache/bin/redis-$program"
	chmod +x "$cache/bin/redis-$program"
done
works "$cache/bin" || leave_out "it does not run"
echo "$cache/bin"
