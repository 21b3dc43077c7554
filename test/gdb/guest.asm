; A boot sector for debuggers: goes to 32-bit protected mode, flat, and counts for ever. Linked as ELF for its symbols.
        global start, main, work, counter, total
        bits 16
start:  cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7000
        lgdt [gdt_pointer]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 8:main

        bits 32
main:   mov ax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x7000
        fninit
        fldpi
        xor ebx, ebx
.loop:  inc ebx
        call work
        jmp .loop

work:   inc dword [counter]
        mov eax, [counter]
        add [total], eax
        test al, 15
        jnz .done
        nop
.done:  ret

        align 8
gdt:    dq 0
        dq 0x00cf9b000000ffff
        dq 0x00cf93000000ffff
gdt_pointer:
        dw 23
        dd gdt
        align 4
counter: dd 0
total:   dd 0
