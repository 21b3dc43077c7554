# bash completion of ambervm
_ambervm() {
  local word=$2 before=$3
  case $before in
    -readconfig|-hda|-hdb|-hdc|-hdd|-cdrom|-fda|-fdb|-drive|-blockdev|-vmstate-drive|-bios|-kernel|-initrd|-trace|-D|-pidfile) COMPREPLY=($(compgen -f -- "$word")); return ;;
    -cpu) COMPREPLY=($(compgen -W "486 pentium pentium2 pentium3 qemu32" -- "$word")); return ;;
    -vga) COMPREPLY=($(compgen -W "none std" -- "$word")); return ;;
    -display) COMPREPLY=($(compgen -W "none curses web" -- "$word")); return ;;
    -d) COMPREPLY=($(compgen -W "in_asm int cpu_reset unimp guest_errors" -- "$word")); return ;;
  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "-h -help -readconfig -generate -version -machine -M -cpu -accel -smp -m -boot -name -uuid -device -global -rtc -icount -hda -hdb -hdc -hdd -cdrom -fda -fdb -drive -blockdev -vmstate-drive -snapshot -loadvm -vga -display -curses -vnc -nographic -serial -monitor -chardev -mon -qmp -qmp-pretty -nodefaults -bios -L -kernel -initrd -append -S -no-reboot -no-shutdown -action -gdb -s -d -trace -D -pidfile -nic -net -parallel -k -no-hpet -no-fd-bootchk -no-user-config -enable-kvm -msg -sandbox -netdev -usb -daemonize -incoming" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")); [ "$COMP_CWORD" = 1 ] && COMPREPLY+=($(compgen -W "img snapshot vmstate" -- "$word")) ;;
  esac
}
complete -o filenames -F _ambervm ambervm
