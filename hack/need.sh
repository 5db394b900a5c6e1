#!/bin/sh
# Makes sure that the programs named as arguments are there, and installs those that are absent by apt-get or brew.
set -eu
cd "$(dirname "$0")/.."

fail() {
	echo "make: $*" >&2
	exit 1
}

# present PROGRAM: is it there?
present() {
	case $1 in
	redis-server) command -v redis-server >/dev/null || command -v valkey-server >/dev/null ;;
	chromium) command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ -d "/Applications/Google Chrome.app" ] ;;
	# Debian installs modules for its own Python, which need not be the first on PATH.
	python3-redis) /usr/bin/python3 -c 'import redis' 2>/dev/null || python3 -c 'import redis' 2>/dev/null ;;
	ioredis) [ -d test/e2e/testdata/ioredis/node_modules/ioredis ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

# package PROGRAM MANAGER: the name of its package.
package() {
	case $1/$2 in
	go/apt) echo golang-go ;;
	cc/apt) echo build-essential ;;
	redis-server/brew) echo redis ;;
	kubectl/apt) echo kubernetes-client ;;
	kubectl/brew) echo kubernetes-cli ;;
	chromium/brew) echo google-chrome ;;
	cc/brew) fail "the race detector needs a C compiler: xcode-select --install" ;;
	python3-redis/brew) fail "python3 has no module redis: python3 -m pip install --user redis" ;;
	*) echo "$1" ;;
	esac
}

install() {
	program=$1
	if command -v apt-get >/dev/null; then
		name=$(package "$program" apt)
		sudo=
		if [ "$(id -u)" -ne 0 ]; then
			command -v sudo >/dev/null || fail "$program is missing: as root, run apt-get install $name"
			sudo=sudo
		fi
		echo "Installing $name with apt-get."
		export DEBIAN_FRONTEND=noninteractive
		$sudo apt-get update -q >/dev/null || fail "apt-get update failed"
		$sudo apt-get install -q -y --no-install-recommends "$name" >/dev/null || fail "apt-get install $name failed"
	elif command -v brew >/dev/null; then
		name=$(package "$program" brew)
		echo "Installing $name with brew."
		brew install "$name"
	else
		fail "$program is missing, and there is neither apt-get nor brew to install it: install it and try again (Go 1.21 or later, Redis 6.2 or later or Valkey 7.2 or later)"
	fi
	present "$program" || fail "$program is still missing after it was installed; is it on PATH?"
}

# The Go tool must be able to build this module: 1.21 and later fetch the version of go.mod by themselves. One that is too old
# is left alone: somebody chose it, or their system has no newer one.
check_go() {
	wanted=$(sed -n 's/^go //p' go.mod)
	found=$(go env GOVERSION) || fail "Go $wanted or later is needed, see go.dev/dl"
	case $found in
	go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.20*) fail "$found is too old: install Go $wanted or later, see go.dev/dl" ;;
	esac
}

# Node.js is a lot for one client of the tests: it is not installed, and the tests say that they leave ioredis out.
install_ioredis() {
	if ! command -v npm >/dev/null; then
		echo "There is no npm: the tests leave ioredis out."
		return
	fi
	echo "Installing ioredis with npm."
	npm ci --prefix test/e2e/testdata/ioredis --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
		echo "npm could not install ioredis: the tests leave it out."
}

for program; do
	if [ "$program" = ioredis ]; then
		present ioredis || install_ioredis
	elif ! present "$program"; then
		install "$program"
	fi
	[ "$program" != go ] || check_go
done
