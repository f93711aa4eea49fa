/**
 * The guest's first process, a shell script: it needs sh, mount, cat, stty and printf, which every busybox has. Everything it is told
 * lies next to it in /.tsvisor: `token`, for one command `command`, for a shell `terminal` (rows, columns, TERM).
 *
 * - The second UART is put into raw mode before anything is written: a line discipline would turn LF into CR LF.
 * - The command writes into a pipe: for it the output is not a terminal, so `ls` prints one name per line and nothing uses colours.
 * - `pipefail` hands on the command's status, because `cat` ends with 0.
 * - Without a second UART (a kernel that knows only one) a shell still works.
 */
export const INIT_SCRIPT = `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
have() { [ -e "$1" ] || mkdir -p "$1"; }
have /proc; [ -e /proc/self ] || mount -t proc proc /proc
have /sys; [ -e /sys/kernel ] || mount -t sysfs sysfs /sys
have /dev; [ -e /dev/ttyS0 ] || mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
have /dev/pts; mount -t devpts devpts /dev/pts 2>/dev/null
have /tmp; mount -t tmpfs tmpfs /tmp
have /run; mount -t tmpfs tmpfs /run
have /root; cd /root
echo tsvisor >/proc/sys/kernel/hostname
ifconfig lo 127.0.0.1 2>/dev/null
umask 022
read -r token </.tsvisor/token
mark() { printf '\\001tsvisor:%s:%s\\n' "$token" "$1" >&3; }
if [ -c /dev/ttyS1 ] && (exec 3>/dev/ttyS1) 2>/dev/null; then
  exec 3>/dev/ttyS1
  stty raw -echo 115200 <&3
else
  exec 3>/dev/null
fi
if [ -f /.tsvisor/command ]; then
  command=$(cat /.tsvisor/command)
  mark B
  set -o pipefail
  sh -c "$command" </dev/null 2>&1 3>&- | cat >&3
  status=$?
  sync
  mark E$status
else
  read -r rows columns TERM </.tsvisor/terminal
  stty rows "$rows" columns "$columns" 2>/dev/null
  mark R
  setsid cttyhack sh
fi
poweroff -f
`;
