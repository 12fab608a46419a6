#!/bin/sh
# build.sh VENV DIRECTORY REQUIREMENTS: build lanner-native for an environment and install it there.
# Takes the compiler that is there, or clang as ziglang brings it. Without either, or where the build
# fails, one line says so and all else goes on.
venv=$1 directory=$2 requirements=$3
source=$(dirname "$0")
mkdir -p "$directory"
skip() {
	echo "the native engine is not built: $1"
	exit 0
}
pip() { "$venv/bin/python" -m pip "$@" >>"$directory/log" 2>&1; }
: >"$directory/log"
pip install --quiet --no-cache-dir --target "$directory/tools" --upgrade --requirement "$requirements" ||
	skip "its build tools cannot be installed ($directory/log)"
if [ -z "$CXX" ] && ! command -v c++ >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
	pip install --quiet --no-cache-dir --target "$directory/tools" ziglang ||
		skip "there is no C++ compiler, and ziglang cannot be installed ($directory/log)"
	zig=$(cd "$directory/tools/ziglang" && pwd)/zig
	for tool in c++ ar ranlib; do
		printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$zig" "$tool" >"$directory/zig-$tool"
		chmod +x "$directory/zig-$tool"
	done
	folder=$(cd "$directory" && pwd)
	export CXX="$folder/zig-c++"
	export CMAKE_ARGS="-DCMAKE_AR=$folder/zig-ar -DCMAKE_RANLIB=$folder/zig-ranlib"
fi
PYTHONPATH=$(cd "$directory/tools" && pwd) PATH=$(cd "$directory/tools" && pwd)/bin:$PATH \
	pip install --no-cache-dir --no-deps --no-build-isolation --force-reinstall "$source" ||
	skip "its build failed ($directory/log)"
echo "the native engine is built: lanner doctor names its instruction sets"
