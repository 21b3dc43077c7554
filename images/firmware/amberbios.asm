; amberbios.bin: the PC BIOS of ambervm, 64 KiB at F0000-FFFFF and at the top of 4 GiB.
;
; It serves real-mode boot loaders (GRUB, SYSLINUX, iPXE, Linux's setup code) on a QEMU pc-i440fx
; machine and on ambervm. All code is 16-bit; POST reaches memory above 1 MiB through FS with a
; 4 GiB limit ("unreal mode"). Interrupt services use the caller's stack, about 150 bytes of it.
;
; Not there: SMM, S3 resume, MP table, APM in protected mode, PS/2 mouse services (int 15h C2), USB, AHCI, PCI option
; ROMs, bridges, hard disk emulation from CD, CGA modes, VBE save/restore and protected-mode interface.

bits 16
cpu 686
org 0

%include "defs.inc"
%include "start.inc"
%include "post.inc"
%include "screen.inc"
%include "fwcfg.inc"
%include "memory.inc"
%include "pci.inc"
%include "pir.inc"
%include "acpi.inc"
%include "smbios.inc"
%include "roms.inc"
%include "irq.inc"
%include "keyboard.inc"
%include "keymap.inc"
%include "int16.inc"
%include "int15.inc"
%include "int1a.inc"
%include "serial.inc"
%include "ata.inc"
%include "int13.inc"
%include "floppy.inc"
%include "eltorito.inc"
%include "boot.inc"
%include "vgamodes.inc"
%include "int10.inc"
%include "vgapixel.inc"
%include "vgapalette.inc"
%include "vgainfo.inc"
%include "vgafont.inc"
%include "glyphs.inc"
%include "vbe.inc"

        align 16, db 0
fseg_area:                          ; tables that must lie in F0000-FFFFF are put here
        times 2048 db 0
fseg_end:

; ---- places that programs expect something at ----
%macro place 1
  %if $-$$ > %1
    %error "code runs into a fixed address"
  %endif
        times %1-($-$$) db 0
%endmacro

        place 0xe05b
        jmp 0xf000:post

        place 0xe6f5
system_configuration:               ; int 15h C0
        dw 8
        db 0xfc, 0, 0               ; AT, submodel, revision
        db 0x74                     ; second PIC, RTC, keyboard intercept, wait for event none
        db 0x40                     ; int 16h 09h
        db 0, 0, 0

        place 0xefc7
diskette_parameters:                ; int 1Eh, 1.44 MB
        db 0xaf, 0x02, 0x25, 2, 18, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08

        place 0xfa6e
%include "font8.inc"

        place 0xff53
dummy_iret:
        iret

        place 0xfff0
        jmp near start              ; cs base is FFFF0000 until the first far jump
        place 0xfff5
        db "11/21/26"
        place 0xfffe
        db 0xfc, 0
