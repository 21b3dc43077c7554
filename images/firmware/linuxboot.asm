; linuxboot.bin: option ROM that starts the Linux kernel given with -kernel.
;
; We copy setup, kernel, command line and initrd to the addresses that fw_cfg names and enter the
; kernel at setup:0020 as Documentation/x86/boot.rst asks for.
;
; Not done: returning to the BIOS after a kernel was loaded.

%include "kernelrom.inc"

HDR_RAMDISK_IMAGE equ 0x218
HDR_RAMDISK_SIZE  equ 0x21c

ROM_BLOCKS      equ 3               ; of 512 bytes: as large as QEMU's, so the RAM block is too
FLAT            equ 0x08

%define work_setup work_value

        rom_header ROM_BLOCKS
product: db "Linux loader", 0

boot:   enter_rom
        mov bx, KEY_SETUP
        call address_of
        mov [work_setup], edi
        call load
        mov bx, KEY_CMDLINE
        call address_of
        push edi
        call load
        mov bx, KEY_KERNEL
        call address_of
        call load
        call place_initrd
        jecxz .start
        call load_at
.start: pop ecx                     ; command line: the stack grows down from just below it
        mov eax, [work_setup]
        sub ecx, eax
        sub ecx, 16
        shr eax, 4
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov esp, ecx
        add ax, 0x20
        push ax
        push word 0
        xor eax, eax
        xor ebx, ebx
        xor ecx, ecx
        xor edx, edx
        xor esi, esi
        xor edi, edi
        xor ebp, ebp
        retf

; Where the initrd goes: as high as RAM and the kernel's header allow, page aligned.
; QEMU has put an address there that keeps clear of the ACPI tables; an older kernel's limit
; or a BIOS that reserves more at the end of RAM (int 15h E801) may ask for a lower one.
; out: edi = address, ecx = size (0: none), bx = item
place_initrd:
        mov bx, KEY_INITRD
        call size_of
        jecxz .none
        call address_of             ; edi = QEMU's choice
        push ecx
        mov ax, 0xe801
        xor cx, cx
        xor dx, dx
        int 0x15
        cli
        jc .limit_done
        test cx, cx
        jnz .cx_dx
        mov cx, ax
        mov dx, bx
.cx_dx: movzx ecx, cx
        movzx edx, dx
        shl ecx, 10                 ; KiB from 1 MiB to 16 MiB
        add ecx, 0x100000
        test edx, edx
        jz .have
        shl edx, 16                 ; 64 KiB blocks from 16 MiB on
        lea ecx, [edx+0x1000000]
.have:  mov eax, ecx
        pop ecx
        push ecx
        sub eax, ecx
        and eax, 0xfffff000
        cmp edi, eax
        jbe .limit_done
        mov edi, eax
.limit_done:
        pop ecx
        call flat_segments          ; the BIOS may have reloaded segment limits
        mov bx, KEY_INITRD
        mov eax, [work_setup]
        mov [es:eax+HDR_RAMDISK_IMAGE], edi
        mov [es:eax+HDR_RAMDISK_SIZE], ecx
.none:  ret

        rom_transfers

        align 8, db 0
gdt:    dq 0
        dq 0x00cf93000000ffff       ; data, base 0, 4 GiB
gdt_end:

        rom_end ROM_BLOCKS
