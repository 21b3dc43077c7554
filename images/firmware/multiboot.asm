; multiboot.bin: option ROM that starts the multiboot kernel given with -kernel (Multiboot Specification 0.6.96).
;
; fw_cfg holds the kernel with its modules behind it, its entry point, and in place of an initrd the Multiboot
; information, in which we fill in what only the BIOS knows: memory sizes and the memory map. Addresses and
; selectors are QEMU's (hw/i386/multiboot.c): hobby kernels rely on them more often than they know.
;
; Not done: video modes, the APM table, the drives list.

%include "kernelrom.inc"

ROM_BLOCKS      equ 2               ; of 512 bytes: as large as QEMU's, so the RAM block is too

; Multiboot information
MBI_LOWER       equ 4               ; KiB from 0
MBI_UPPER       equ 8               ; KiB from 1 MiB to the first hole
MBI_MAP_LENGTH  equ 44
MBI_MAP         equ 48

; An entry of the memory map is as E820 gives it, behind its size.
MAP_BASE        equ 4
MAP_BASE_HIGH   equ 8
MAP_LENGTH      equ 12
MAP_TYPE        equ 20
MAP_RAM         equ 1
ENTRY_BYTES     equ 20
MAP_ENTRIES     equ 50              ; what fits between map and information

BOOT_MAGIC      equ 0x2badb002
CODE            equ 0x08
DATA            equ 0x10
FLAT            equ DATA

%define work_info work_value

        rom_header ROM_BLOCKS
product: db "multiboot loader", 0

boot:   enter_rom
        mov bx, KEY_INITRD
        call address_of
        mov [work_info], edi
        call load
        call memory_map
        call flat_segments          ; the BIOS may have reloaded segment limits
        call upper_memory

        mov bx, KEY_KERNEL
        call address_of
        call load
        mov ax, KEY_ENTRY
        call item32
        mov esi, eax
        mov ebx, [work_info]

        xor eax, eax                ; into protected mode; the ROM lies at cs:0
        mov ax, cs
        shl eax, 4
        lea ecx, [eax+gdt]
        lea edx, [eax+enter_kernel]
        push ecx
        push word gdt_end-gdt-1
        mov di, sp
        o32 lgdt [ss:di]
        push dword CODE
        push edx
        mov eax, cr0
        or al, 1
        mov cr0, eax
        o32 retf

; Memory below 1 MiB, and the map, into the information.
memory_map:
        mov ebx, [work_info]
        int 0x12
        movzx eax, ax
        mov [es:bx+MBI_LOWER], eax
        mov edi, [es:bx+MBI_MAP]
        push edi
        xor ebx, ebx
        mov cx, MAP_ENTRIES
.next:  push cx
        mov eax, 0xe820
        mov edx, 0x534d4150         ; "SMAP"
        mov ecx, ENTRY_BYTES
        add di, MAP_BASE
        int 0x15
        pop cx
        jc .error
        mov dword [es:di-MAP_BASE], ENTRY_BYTES
        add di, ENTRY_BYTES
        test ebx, ebx
        loopnz .next
        jmp short .done
.error: sub di, MAP_BASE
.done:  pop eax
        sub di, ax
        movzx edi, di
        mov ebx, [work_info]
        mov [es:bx+MBI_MAP_LENGTH], edi
        ret

; KiB from 1 MiB on without a hole, into the information: the map is not ordered, so from its start for each piece found.
upper_memory:
        mov ebx, [work_info]
        mov edx, 0x100000
.again: mov edi, [es:bx+MBI_MAP]
        mov ecx, [es:bx+MBI_MAP_LENGTH]
        add ecx, edi
.entry: cmp edi, ecx
        jae .done
        cmp dword [es:edi+MAP_TYPE], MAP_RAM
        jne .next
        cmp dword [es:edi+MAP_BASE_HIGH], 0
        jne .next
        mov eax, [es:edi+MAP_BASE]
        cmp edx, eax
        jb .next
        add eax, [es:edi+MAP_LENGTH]
        jc .next                    ; up to 4 GiB: not on this board
        cmp edx, eax
        jae .next
        mov edx, eax
        jmp .again
.next:  add edi, [es:edi]
        add edi, 4
        jmp .entry
.done:  sub edx, 0x100000
        shr edx, 10
        mov [es:bx+MBI_UPPER], edx
        ret

        rom_transfers

bits 32
; esi: entry point, ebx: Multiboot information
enter_kernel:
        mov ax, DATA
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov eax, BOOT_MAGIC
        jmp esi
bits 16

        align 8, db 0
gdt:    dq 0
        dq 0x00cf9a000000ffff       ; code, 32 bit, base 0, 4 GiB
        dq 0x00cf92000000ffff       ; data
        dq 0x00009e000000ffff       ; code, 16 bit, conforming: the way back to real mode
        dq 0x000092000000ffff       ; data, 64 KiB
gdt_end:

        rom_end ROM_BLOCKS
