#!/usr/bin/env bash
# usage: with_rgw.sh COMMAND…   runs a command beside a fresh one-node Ceph object store (mon, osd, radosgw) on loopback.
# Needs the Debian packages ceph-mon ceph-osd ceph-common radosgw. The store lives in memory and ends with the command.
set -euo pipefail

dir=$(mktemp -d)
read -r rgw_port mon_port < <(python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(2)]
for each in sockets: each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
PY
)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap stop EXIT

mkdir -p "$dir"/{mon,osd,run,log}
fsid=$(cat /proc/sys/kernel/random/uuid)
conf="$dir/ceph.conf"
cat >"$conf" <<CONF
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$mon_port]
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
run_dir = $dir/run
pid_file = $dir/run/\$name.pid
admin_socket = $dir/run/\$name.asok
log_file = $dir/log/\$name.log
mon_data = $dir/mon
osd_data = $dir/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:$rgw_port tcp_nodelay=1
ms_mon_client_mode = crc
rgw_enable_ops_log = false
rgw_enable_usage_log = false
CONF

monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$dir/monmap" >/dev/null
ceph-mon -c "$conf" --mkfs -i a --monmap "$dir/monmap" >"$dir/log/mkfs.out" 2>&1
ceph-mon -c "$conf" -f -i a >"$dir/log/mon.out" 2>&1 & pids+=($!)
osd_id=$(cat /proc/sys/kernel/random/uuid)
timeout 30 ceph -c "$conf" osd new "$osd_id" >/dev/null
ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd_id" >"$dir/log/osdmkfs.out" 2>&1
ceph-osd -c "$conf" -f -i 0 >"$dir/log/osd.out" 2>&1 & pids+=($!)
for _ in $(seq 120); do timeout 10 ceph -c "$conf" osd stat 2>/dev/null | grep -q "1 up" && break; sleep 0.25; done
radosgw -c "$conf" -f -n client.rgw.a >"$dir/log/rgw.out" 2>&1 & pids+=($!)
ready=no
for _ in $(seq 240); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$rgw_port") 2>/dev/null; then ready=yes; break; fi
  sleep 0.25
done
[ "$ready" = yes ] || { echo "the object store did not start:"; tail -5 "$dir"/log/*; exit 1; }

key="key$RANDOM$RANDOM" secret="secret$RANDOM$RANDOM$RANDOM"
timeout 60 radosgw-admin -c "$conf" -n client.rgw.a --ms_mon_client_mode=crc user create --uid=lab --display-name=lab \
  --access-key="$key" --secret="$secret" >/dev/null 2>&1
export AWS_ENDPOINT_URL="http://127.0.0.1:$rgw_port" AWS_ACCESS_KEY_ID="$key" AWS_SECRET_ACCESS_KEY="$secret"
export AWS_DEFAULT_REGION=us-east-1 HYBRIDSCREEN_REAL_S3=1
export HYBRIDSCREEN_RGW_ADMIN="radosgw-admin -c $conf -n client.rgw.a --ms_mon_client_mode=crc"   # for users of other rights
"$@"
