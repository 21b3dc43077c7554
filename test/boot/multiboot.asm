; A multiboot kernel that prints on COM1 what it was given. -DELF: an ELF of two segments, the second with zeros behind it;
; else: a file whose header says where it goes, with 12 bytes of something else before it.
bits 32
LOAD    equ 0x100000

%ifdef ELF
org LOAD
file:   db 0x7f, "ELF", 1, 1, 1, 0
        dq 0
        dw 2, 3                     ; executable, i386
        dd 1, start, table-file, 0, 0
        dw 52, 32, 2, 40, 0, 0
table:  dd 1, 0, 0xc0000000+LOAD, LOAD, text_end-file, text_end-file, 5, 0x1000
        dd 1, 0x3000, 0xc0000000+data, data, data_end-data, data_end-data+0x2000, 6, 0x1000
FLAGS   equ 0
%else
org LOAD-12
        db "not a header"
FLAGS   equ 0x10000
%endif

        align 4
header: dd 0x1badb002, FLAGS, -(0x1badb002+FLAGS)
%ifndef ELF
        dd header, LOAD, data_end, data_end+0x2000, start
%endif

start:  mov esp, stack_end
        mov esi, eax                ; magic
        call number
        mov eax, cr0
        and eax, 0x80000001
        call number
        mov eax, [zeros]            ; must have been cleared
        or eax, [zeros+0x1ffc]
        call number
        call line
        mov edi, ebx
        mov eax, [edi]              ; flags, then memory, boot device
        call number
        mov eax, [edi+4]
        call number
        mov eax, [edi+8]
        call number
        mov eax, [edi+12]
        call number
        call line
        mov esi, [edi+16]
        call text
        mov esi, [edi+64]
        call text
        mov ecx, [edi+20]           ; modules
        mov ebp, [edi+24]
        jecxz .map
.module:
        mov eax, [ebp]
        mov edx, [ebp+4]
        sub edx, eax
        push dword [eax]
        mov eax, edx
        call number
        pop eax
        call number
        mov eax, [ebp]
        and eax, 0xfff
        call number
        mov esi, [ebp+8]
        call text
        add ebp, 16
        loop .module
.map:   mov ebp, [edi+48]
        mov ecx, [edi+44]
        add ecx, ebp
.entry: cmp ebp, ecx
        jae .done
        mov edx, [ebp]              ; size
        xor esi, esi
.word:  mov eax, [ebp+esi]
        call number
        add esi, 4
        cmp esi, edx
        jbe .word
        call line
        lea ebp, [ebp+edx+4]
        jmp .entry
.done:  mov esi, end
        call text
.halt:  cli
        hlt
        jmp .halt

text:   lodsb
        test al, al
        jz line
        call put
        jmp text
number: push ecx
        mov ecx, 8
.digit: rol eax, 4
        push eax
        and al, 15
        cmp al, 10
        sbb al, 0x69
        das
        call put
        pop eax
        loop .digit
        pop ecx
        mov al, ' '
        jmp put
line:   mov al, 10
put:    push edx
        push eax
        mov dx, 0x3fd               ; until the transmitter is free: QEMU's waits for whoever reads
.busy:  in al, dx
        test al, 0x20
        jz .busy
        pop eax
        mov dx, 0x3f8
        out dx, al
        pop edx
        ret
end:    db "THE END", 0
text_end:

%ifdef ELF
        align 4096, db 0x55         ; a gap that is not loaded
section .data start=LOAD+0x3000 vstart=LOAD+0x3000
%endif
data:   dd 0x12345678
data_end:
zeros   equ data_end
stack_end equ data_end+0x1000
