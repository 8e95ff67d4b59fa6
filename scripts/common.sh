# common.sh - what the scripts share; sourced, never run. Works on a fresh Debian 12, as root or with sudo.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

BUILD_PACKAGES="gcc g++ cmake ninja-build pkg-config libopenmpi-dev openmpi-bin libhdf5-dev libyaml-dev libssl-dev zlib1g-dev libxxhash-dev libcjson-dev libcurl4-openssl-dev libmicrohttpd-dev procps"
TEST_PACKAGES="libcriterion-dev hdf5-tools dataset-fashion-mnist libdnnl-dev python3 python3-venv clang-format clang-tidy git slurm-wlm munge iproute2 util-linux dropbear-bin prometheus chromium"

# Open MPI refuses to run as root without these; more ranks than cores must not spin.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else echo "this needs root or sudo: $*" >&2; exit 1; fi
}

# install_packages NAME...: those that are missing, and says which.
install_packages() {
    local missing=()
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] && return 0
    echo "installing with apt: ${missing[*]}"
    as_root apt-get -qq -o DPkg::Lock::Timeout=600 update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# build PRESET [cmake options...]: quiet unless something is wrong.
build() {
    local preset=$1 log code=0
    shift
    log=$(mktemp)
    { cmake --preset "$preset" "$@" && cmake --build --preset "$preset"; } >"$log" 2>&1 || code=$?
    if [ $code != 0 ]; then tail -n 60 "$log"; else grep -E 'warning:' "$log" || true; fi
    rm -f "$log"
    return $code
}
