#!/bin/bash
# Builds the environment that `make` works in, runs commands in it, removes it. The Makefile calls it:
#
#   scripts/install.sh build            build what is missing or stale
#   scripts/install.sh run COMMAND...   run a command in the environment
#   scripts/install.sh remove           remove the environment
#   scripts/install.sh docs             build the documentation's site, by an environment of its own
#
# It reads VENV (the environment's folder, .venv), PYTHON (python3.11), and three choices, which the environment
# keeps until they are given again:
#   GPU=1                 TensorFlow with CUDA, Horovod with NCCL; GPU=0 goes back
#   MPICXX=/path/mpicxx   the MPI to build against (default: mpicxx on PATH); MPICXX=wheel: Open MPI as a package
#   EXTRAS=gw             LALSuite too, which simulates gravitational waves
#
# The environment is built in stages, each with a stamp that is written when the stage is complete:
#   .chosen   (which TensorFlow, which MPI)
#   .built    the locked packages (from nothing; stale when a lock file's content or a choice changes)
#   .horovod  Horovod, built from source and checked
#   .package  this package, editable
#   .extras   the optional packages of EXTRAS (stale when their lock file changes)
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${VENV:-.venv}
PYTHON=${PYTHON:-python3.11}
GPU=${GPU:-}
MPICXX=${MPICXX:-}
EXTRAS=${EXTRAS:-}
export -n VENV PYTHON GPU MPICXX EXTRAS  # they are for this script alone

PIP=(python -m pip install --quiet --disable-pip-version-check --no-deps)
LOCKED=("${PIP[@]}" --require-hashes)
FROM_SOURCE=("${LOCKED[@]}" --no-build-isolation --no-binary :all: --no-cache-dir --ignore-installed)
NVIDIA_NCCL=lib/python3.11/site-packages/nvidia/nccl

main() {
    leave_other_environments
    choose
    case ${1:-} in
        build) build ;;
        run) run "${@:2}" ;;
        remove) remove ;;
        docs) docs ;;
        *) fail "scripts/install.sh knows build, run COMMAND..., remove and docs" ;;
    esac
}

fail() {
    echo "make: $1" >&2
    exit 1
}

# Nothing from outside may leak into the environment: an activated .venv, a module's PYTHONPATH.
leave_other_environments() {
    local activated=${VIRTUAL_ENV:-$VENV}/bin  # of another checkout, say: its mpicxx is not the site's
    PATH=$(tr : '\n' <<< "$PATH" |
        grep -vxF -e "$activated" -e "$(realpath -ms "$VENV/bin")" -e "$(realpath -m "$VENV/bin")" | paste -sd :)
    export PATH PYTHONNOUSERSITE=1
    unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
}

# --- what to build --------------------------------------------------------------------------------

# Sets DEVICE (cpu, gpu), MPICXX (a path, or wheel), MPI (wheel, or the site's own) and EXTRAS (nothing, or gw).
choose() {
    local kept_device='' kept_mpicxx='' kept_extras=''
    if [ -e "$VENV/.chosen" ]; then
        read -r kept_device kept_mpicxx kept_extras < "$VENV/.chosen" || true
    fi
    EXTRAS=${EXTRAS:-$kept_extras}
    case $EXTRAS in '' | gw) ;; *) fail "EXTRAS=$EXTRAS is not known: it can be gw" ;; esac
    case $GPU in
        '') DEVICE=${kept_device:-cpu} ;;
        0) DEVICE=cpu ;;
        *) DEVICE=gpu ;;
    esac
    MPICXX=${MPICXX:-${kept_mpicxx:-$(command -v mpicxx || echo wheel)}}
    if [ "$MPICXX" = wheel ]; then MPI=wheel; else MPI=site; fi
}

gpu() { [ "$DEVICE" = gpu ]; }
site_mpi() { [ "$MPI" = site ]; }
lock() { echo "requirements/$1.lock"; }

# What .built says of an up-to-date environment: the choices, and a checksum of the lock files.
wanted() {
    local checksum
    checksum=$(cat "$(lock common)" "$(lock "tensorflow-$DEVICE")" "$(lock "mpi-$MPI")" "$(lock horovod)" | cksum)
    echo "$DEVICE $MPICXX ${checksum%% *}"
}

wanted_extras() { echo "$EXTRAS $(cksum < "$(lock "$EXTRAS")")"; }

# stale STAMP FILE...: the stamp is missing, or older than a file.
stale() {
    local stamp=$1 file
    [ -e "$stamp" ] || return 0
    for file in "${@:2}"; do
        if [ "$file" -nt "$stamp" ]; then return 0; fi
    done
    return 1
}

build() {
    if [ "$(wanted)" != "$(cat "$VENV/.built" 2> /dev/null)" ]; then
        check_choices
        build_packages
    fi
    if stale "$VENV/.horovod" "$VENV/.built"; then
        build_horovod
    fi
    if stale "$VENV/.package" "$VENV/.horovod" pyproject.toml bnn_hvd/__init__.py; then
        install_this_package
    fi
    if [ -n "$EXTRAS" ] && [ "$(wanted_extras)" != "$(cat "$VENV/.extras" 2> /dev/null)" ]; then
        install_extras
    fi
}

# --- stage 1: the locked packages -----------------------------------------------------------------

check_python() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
        fail "$PYTHON is not Python 3.11: make PYTHON=/path/to/python3.11"
}

check_choices() {
    check_python
    if site_mpi && [ ! -x "$MPICXX" ]; then
        fail "$MPICXX is missing: load its module or give MPICXX="
    fi
    if gpu && [ ! -x "${HOROVOD_CUDA_HOME:-}/bin/nvcc" ] && ! command -v nvcc > /dev/null; then
        fail "GPU=1 needs nvcc of CUDA 12: load its module or set HOROVOD_CUDA_HOME"
    fi
    ours || fail "$VENV was not made by this Makefile: move it away or give VENV=other"
}

# The environment is ours to replace: it does not exist, or has the stamp of this script.
ours() { [ ! -e "$VENV" ] || [ -e "$VENV/.chosen" ]; }

build_packages() {
    local requirements=(-r "$(lock common)" -r "$(lock "tensorflow-$DEVICE")")
    site_mpi || requirements+=(-r "$(lock mpi-wheel)")
    echo "== 1/3 packages into $VENV (TensorFlow: $DEVICE; MPI: $MPICXX)"
    make_folder
    echo "$DEVICE $MPICXX $EXTRAS" > "$VENV/.chosen"
    find -H "$VENV" -mindepth 1 -maxdepth 1 ! -name .chosen -exec rm -rf {} +
    "$PYTHON" -m venv "$(readlink -f "$VENV")"
    in_venv "${LOCKED[@]}" --only-binary :all: "${requirements[@]}"
    if gpu; then
        ln -sf libnccl.so.2 "$VENV/$NVIDIA_NCCL/lib/libnccl.so"
    fi
    wanted > "$VENV/.built"
}

# Horovod's build cannot take a path with a space: there, the environment is a link to a folder in the cache.
make_folder() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/bnn_hvd
    case "$(realpath -ms "$VENV")" in
        *' '*) [ -e "$VENV" ] || { mkdir -p "$cache"; ln -sfn "$(mktemp -d "$cache/venv.XXXXXX")" "$VENV"; } ;;
        *) mkdir -p "$VENV" ;;
    esac
}

# --- stage 2: Horovod -----------------------------------------------------------------------------

build_horovod() {
    local parts=(TensorFlow MPI Gloo) venv
    venv=$(readlink -f "$VENV")
    local options=(
        HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
        HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 HOROVOD_CPU_OPERATIONS=MPI HOROVOD_CMAKE="$venv/bin/cmake"
    )
    if gpu; then  # nvcc comes from PATH or HOROVOD_CUDA_HOME; NCCL from HOROVOD_NCCL_HOME, else TensorFlow's own
        parts+=(NCCL)
        options+=(
            HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=SHARED
            HOROVOD_NCCL_HOME="${HOROVOD_NCCL_HOME:-$venv/$NVIDIA_NCCL}"
        )
    fi
    echo "== 2/3 Horovod from source, with ${parts[*]} (a few minutes)"
    if site_mpi; then
        in_venv env MPI4PY_BUILD_MPICC="$(dirname "$MPICXX")/mpicc" "${FROM_SOURCE[@]}" -r "$(lock mpi-site)"
    fi
    # MAKEFLAGS: the flags of the make that called this are not for the makes inside.
    in_venv env MAKEFLAGS="-j$(nproc)" "${options[@]}" "${FROM_SOURCE[@]}" -r "$(lock horovod)"
    check_horovod "${parts[@]}"
    touch "$VENV/.horovod"
}

check_horovod() {
    local part built=$VENV/check-build.txt errors=$VENV/check-build.err
    in_venv horovodrun --check-build > "$built" 2> "$errors" || true
    cat "$built"
    for part in "$@"; do
        grep -qF "[X] $part" "$built" || { cat "$errors" >&2; fail "Horovod was built without $part"; }
    done
}

# --- stage 3: this package ------------------------------------------------------------------------

install_this_package() {
    echo "== 3/3 this package"
    in_venv "${PIP[@]}" --no-build-isolation --editable .
    touch "$VENV/.package"
}

# --- stage 4: what is optional ----------------------------------------------------------------------

install_extras() {
    echo "== optional packages: $EXTRAS"
    in_venv "${LOCKED[@]}" --only-binary :all: -r "$(lock "$EXTRAS")"
    echo "$DEVICE $MPICXX $EXTRAS" > "$VENV/.chosen"
    wanted_extras > "$VENV/.extras"
}

# --- the environment in use -----------------------------------------------------------------------

path_inside() {
    local mpi=''
    if site_mpi; then mpi=$(dirname "$MPICXX"):; fi
    echo "$(readlink -f "$VENV")/bin:$mpi$PATH"
}

in_venv() { PATH=$(path_inside) "$@"; }

run() {
    [ -e "$VENV/.package" ] || fail "$VENV is missing or incomplete: make install"
    PATH=$(path_inside)
    exec "$@"
}

remove() {
    ours || fail "$VENV was not made by this Makefile: remove it yourself"
    rm -rf "$(readlink -f "$VENV")" "$VENV"
}

# --- the site of the documentation ------------------------------------------------------------------

# MkDocs reads the package's files and needs neither TensorFlow nor Horovod: its environment is apart, in the cache.
docs() {
    local venv=${XDG_CACHE_HOME:-$HOME/.cache}/bnn_hvd/docs-env wanted
    wanted=$(cksum < "$(lock docs)")
    if [ "$wanted" != "$(cat "$venv/.built" 2> /dev/null)" ]; then
        check_python
        echo "== the packages of the documentation's site into $venv"
        "$PYTHON" -m venv --clear "$venv"
        PATH=$venv/bin:$PATH "${LOCKED[@]}" --only-binary :all: -r "$(lock docs)"
        echo "$wanted" > "$venv/.built"
    fi
    NO_MKDOCS_2_WARNING=1 "$venv/bin/python" -m mkdocs build --strict
    echo "Open build/site/index.html: it needs neither a server nor the internet."
}

main "$@"
