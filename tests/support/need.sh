#!/bin/sh
# need.sh PACKAGE... -- install the Debian packages that are missing; silent when none is.
# SPDX-License-Identifier: BSD-2-Clause
set -eu

missing=
for package; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' ||
        missing="$missing $package"
done
# npm and node may be there without being packages.
for command in node:nodejs npm:npm; do
    command -v "${command%%:*}" >/dev/null && missing=$(printf '%s' " $missing " | sed "s/ ${command#*:} / /")
done
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
echo "installing: $missing"

# Packages that bring a service (mosquitto) must not start it: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod 755 $policy
    trap '$as_root rm -f $policy' EXIT
fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
case " $missing " in *" mosquitto "*)
    $as_root systemctl disable mosquitto >/dev/null 2>&1 || true ;;
esac
