#!/bin/bash
# Do two revisions train the same bits? Trains every method, and the named models, for a few steps at both, on
# one rank and on two, and prints a table of checksums. Exit code 1: some differ, or some case failed.
#
#   scripts/same_bits.sh A B [--quick]
#
# A and B are revisions; `.` is the work tree as it is. --quick: every method once, and no models. The python
# and the horovodrun are those on PATH: activate the environment first. What is trained: scripts/same_bits.py.
set -euo pipefail
set -m  # each job in the background is a group of processes, which can be ended as a whole

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
repository=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$repository/scripts/same_bits.py
python=$(command -v python || true)
[ -x "${python%/*}/horovodrun" ] || {
    echo "same_bits.sh: the python on PATH has no horovodrun beside it; activate the environment first:" \
        "source .venv/bin/activate" >&2
    exit 2
}
work=$(mktemp -d)
export OMPI_MCA_mpi_yield_when_idle=1  # a rank that waits leaves its core to the other

finish() {
    local job tree
    for job in $(jobs -p); do kill -- "-$job" 2> /dev/null || true; done
    for tree in "$work"/[AB]/tree; do
        [ ! -d "$tree" ] || [ -L "$tree" ] || git -C "$repository" worktree remove --force "$tree"
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# checkout SIDE REVISION: its files, as $work/SIDE/tree
checkout() {
    mkdir -p "$work/$1/1" "$work/$1/2"
    ln -s "$work"/{images.npz,images,networks.py} "$work/$1/1/"
    ln -s "$work"/{images.npz,images,networks.py} "$work/$1/2/"
    case $2 in
        .) ln -s "$repository" "$work/$1/tree" ;;
        *) git -C "$repository" worktree add --quiet --detach "$work/$1/tree" "$2" ;;
    esac
}

# train SIDE RANKS [--quick]: the results are in $work/SIDE/RANKS
train() {
    local folder=$work/$1/$2 tree launcher=(env)
    tree=$(readlink -f "$work/$1/tree")
    [ "$2" = 1 ] || launcher=("$(dirname "$python")/horovodrun" -np "$2" --)
    (cd "$folder" &&
        PYTHONPATH=$tree "${launcher[@]}" "$python" "$script" train "$tree" "${@:3}" < /dev/null > log 2>&1) ||
        { echo "$1, ranks $2: the job failed; its last lines:" >&2; tail -n 20 "$folder/log" >&2; }
}

"$python" "$script" data "$work"
checkout A "$1"
checkout B "$2"
shift 2
train A 1 "$@" &
train B 1 "$@" &
wait
for side in A B; do
    train "$side" 2 "$@" &
    wait
done
"$python" "$script" compare "$work/A" "$work/B" "$@"
