#!/bin/bash
# SLURM's servers and commands out of the distribution's packages. usage: unpack.sh DIRECTORY, which gets bin, lib and plugins
# Nothing is installed and no root is needed: lists of packages, too, are fetched into the folder and not into the system's.
set -eu -o pipefail
packages="slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge"

fail() {
    echo "SLURM is not installed, and $1. Install slurmctld, slurmd, srun, sbatch and munged" \
        "(Debian and Ubuntu: apt-get install $packages), then repeat the command." >&2
    exit 1
}

for program in apt-get dpkg; do
    command -v "$program" >/dev/null || fail "its packages cannot be fetched without $program"
done

rm -rf "$1"
mkdir -p "$1"/{packages/lists/partial,packages/cache/archives/partial,root,bin,lib}
cd "$1"
top=$PWD
apt=(apt-get -qq -o "Dir::State::lists=$top/packages/lists" -o "Dir::Cache=$top/packages/cache" -o APT::Sandbox::User=root)

"${apt[@]}" update || fail "apt-get update failed"
# the packages, and what else an installation would add: libraries that this machine lacks
# shellcheck disable=SC2086 # one word a package
added=$("${apt[@]}" --simulate --no-install-recommends install $packages | awk '/^Inst /{print $2}') ||
    fail "apt-get finds no packages of it"
cd packages
# shellcheck disable=SC2046,SC2086
"${apt[@]}" download $(printf '%s\n' $packages $added | sort -u) || fail "apt-get download failed"
for package in *.deb; do dpkg -x "$package" "$top/root"; done
cd "$top"
rm -r packages

# Debian's alternatives, which only an installation makes: slurmd is slurmd-wlm
for program in root/usr/sbin/* root/usr/bin/*; do
    name=$(basename "$program")
    ln -s "../$program" "bin/${name%-wlm}"
done
find root -name '*.so*' -not -path '*/slurm*/*' -exec ln -sr -t lib {} +
plugins=$(find root -name auth_munge.so)
ln -s "${plugins%/*}" plugins
