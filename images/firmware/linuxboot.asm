; linuxboot.bin: option ROM that starts the Linux kernel given with -kernel.
;
; The machine has put the parts of the kernel into fw_cfg (QEMU: docs/specs/fw_cfg.rst,
; include/standard-headers/linux/qemu_fw_cfg.h). The BIOS finds this ROM among the `genroms/`
; files, copies it to C0000-EFFFF and calls its boot entry vector (BIOS Boot Specification 1.01).
; We copy setup, kernel, command line and initrd to the addresses that fw_cfg names and enter the
; kernel at setup:0020 as Documentation/x86/boot.rst asks for.
;
; Not done: multiboot kernels, returning to the BIOS after a kernel was loaded.

bits 16
org 0

FWCFG_SELECT    equ 0x510
FWCFG_DATA      equ 0x511
FWCFG_DMA       equ 0x514           ; 64-bit big-endian address, the low half starts the transfer

KEY_ID          equ 0x01            ; bit 1: DMA interface present
KEY_KERNEL      equ 0x1107          ; low byte: item with the address, high byte: item with the data
KEY_INITRD      equ 0x120a
KEY_CMDLINE     equ 0x1513
KEY_SETUP       equ 0x1816

DMA_ERROR       equ 0x01
DMA_READ        equ 0x02
DMA_SELECT      equ 0x08

HDR_RAMDISK_IMAGE equ 0x218
HDR_RAMDISK_SIZE  equ 0x21c
HDR_RAMDISK_MAX   equ 0x22c

ROM_BLOCKS      equ 3               ; of 512 bytes: as large as QEMU's, so the RAM block is too

        dw 0xaa55
        db ROM_BLOCKS
        jmp short init
        times 0x1a-($-$$) db 0
        dw pnp
        times 0x20-($-$$) db 0

pnp:    db "$PnP", 1, 2             ; revision, length in 16 bytes
        dw 0                        ; no further header
        db 0
        db 0                        ; checksum: filled in by the build
        dd 0                        ; device id
        dw maker, product
        db 0, 0, 0x80               ; device type: other
        db 0x04                     ; can boot (IPL device)
        dw 0                        ; no boot connection vector
        dw 0
        dw boot                     ; boot entry vector
        dw 0, 0

maker:   db "ambervm", 0
product: db "Linux loader", 0

init:   mov ax, 0x20                ; an IPL device is attached
        retf

; Boot entry. Frame at bp: everything the transfers need, on a stack of our own.
WORK    equ 32
%define work_control  bp+0          ; fw_cfg DMA descriptor, big-endian: control, length, address
%define work_length   bp+4
%define work_high     bp+8
%define work_low      bp+12
%define work_dma      bp+16         ; byte: DMA interface usable
%define work_value    bp+20         ; one 32-bit item
%define work_setup    bp+24

boot:   cli
        cld
        xor ax, ax
        mov ss, ax
        mov sp, 0x7c00
        sub sp, WORK
        mov bp, sp
        mov ds, ax
        mov es, ax

        mov byte [work_dma], 0
        mov ax, KEY_ID
        call item32
        test al, 2
        jz .no_dma
        inc byte [work_dma]
.no_dma:
        call flat_segments

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

; bl = item with the address, bl+1 = item with the size (command line and the others agree on this
; except the kernel, whose size is item 8, and the initrd, 0x0b: also one above).
address_of:
        mov al, bl
        cbw
        call item32
        mov edi, eax
        ret
size_of:
        mov al, bl
        inc al
        cbw
        call item32
        mov ecx, eax
        ret

; Copy item bh to edi; the size comes from item bl+1.
load:   call size_of
        jecxz done
; Copy ecx bytes of item bh to edi.
load_at:
        mov al, bh
        cbw
        cmp byte [work_dma], 0
        jne dma
        mov dx, FWCFG_SELECT
        out dx, ax
        inc dx
        a32 rep insb                ; es:edi, 4 GiB limit
done:   ret

dma:    shl eax, 16
        or eax, DMA_READ | DMA_SELECT
        bswap eax
        mov [work_control], eax
        mov eax, ecx
        bswap eax
        mov [work_length], eax
        mov dword [work_high], 0
        mov eax, edi
        bswap eax
        mov [work_low], eax
        mov dx, FWCFG_DMA
        xor eax, eax
        out dx, eax
        movzx eax, bp               ; ss is 0
        bswap eax
        add dx, 4
        out dx, eax
.wait:  mov eax, [work_control]
        bswap eax
        test al, DMA_ERROR
        jnz fail
        test eax, eax
        jnz .wait
        ret

; ax = item; out: eax = its 32-bit little-endian value
item32: push cx
        mov dx, FWCFG_SELECT
        out dx, ax
        inc dx
        mov cx, 4
.byte:  in al, dx
        ror eax, 8
        loop .byte
        pop cx
        ret

; es gets base 0 and a limit of 4 GiB, which real mode then keeps.
flat_segments:
        push eax
        push ebx
        push cs
        pop ax
        movzx eax, ax
        shl eax, 4
        add eax, gdt
        sub sp, 6
        mov bx, sp
        mov word [ss:bx], gdt_end-gdt-1
        mov [ss:bx+2], eax
        o32 lgdt [ss:bx]
        add sp, 6
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp short $+2
        mov bx, 8
        mov es, bx
        and al, 0xfe
        mov cr0, eax
        jmp short $+2
        xor bx, bx
        mov es, bx
        pop ebx
        pop eax
        ret

fail:   mov si, .text
.next:  cs lodsb
        test al, al
        jz .halt
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        jmp .next
.halt:  hlt
        jmp .halt
.text:  db "linuxboot: fw_cfg transfer failed", 13, 10, 0

        align 8, db 0
gdt:    dq 0
        dq 0x00cf93000000ffff       ; data, base 0, 4 GiB
gdt_end:

        times ROM_BLOCKS*512-1-($-$$) db 0
        db 0                        ; checksum: filled in by the build
