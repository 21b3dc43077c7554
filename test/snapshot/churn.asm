; A guest that changes memory, screen and disk in an order that depends on nothing but what it did before.
;   nasm -f bin churn.asm -o churn.img
; Boots from disk, enters flat protected mode, copies itself to 2 MiB, prints "C" on COM1 and then, for ever:
; waits about 200 instructions, changes one page and reads another between 4 and 28 MiB, counts at 3 MiB and on the screen;
; every 512th time it writes a sector (PIO, 16 … 271).
        bits 16
        org 0x7c00
        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        in al, 0x92
        or al, 2
        and al, 0xfe
        out 0x92, al
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 8:protected
        bits 32
protected:
        mov ax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x300000
        mov esi, 0x7c00
        mov edi, 0x200000
        mov ecx, 512
        cld
        rep movsb
        mov eax, 0x200000 + (moved - 0x7c00)
        jmp eax
moved:
        mov edx, 0x3f8
        mov al, 'C'
        out dx, al
        mov ebp, 0x12345678             ; xorshift32
        xor ebx, ebx                    ; rounds
again:
        mov ecx, 100
.wait:  dec ecx
        jnz .wait
        call random
        add [0x400000 + eax], ebx
        xor [0x400000 + eax + 2048], ebp
        call random
        add esi, [0x400000 + eax]
        inc ebx
        mov [0x300000], ebx
        mov [0x300ffc], esi
        mov eax, ebx
        and eax, 0x7ff
        add [0xb8000 + eax], bl
        test ebx, 511
        jnz again
        call write_sector
        jmp again

; A page between 0 and 24 MiB.
random: mov eax, ebp
        shl eax, 13
        xor ebp, eax
        mov eax, ebp
        shr eax, 17
        xor ebp, eax
        mov eax, ebp
        shl eax, 5
        xor ebp, eax
        mov eax, ebp
        xor edx, edx
        mov ecx, 6144
        div ecx
        mov eax, edx
        shl eax, 12
        ret

write_sector:
        mov edx, 0x1f7
.ready: in al, dx
        test al, 0x80
        jnz .ready
        mov edx, 0x1f6
        mov al, 0xe0
        out dx, al
        mov edx, 0x1f2
        mov al, 1
        out dx, al
        inc edx
        mov eax, ebx
        shr eax, 9
        movzx eax, al
        add eax, 16
        out dx, al
        inc edx
        mov al, ah
        out dx, al
        inc edx
        xor eax, eax
        out dx, al
        mov edx, 0x1f7
        mov al, 0x30
        out dx, al
.drq:   in al, dx
        test al, 8
        jz .drq
        push esi
        mov esi, 0x300e00
        mov ecx, 256
        mov edx, 0x1f0
        rep outsw
        pop esi
        ret

        align 8
gdt:    dq 0
        dq 0x00cf9a000000ffff
        dq 0x00cf92000000ffff
gdtr:   dw 23
        dd gdt
        times 510 - ($ - $$) db 0
        dw 0xaa55
