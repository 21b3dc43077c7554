; A floppy that shows one picture after the other, drawn in the ways software draws: through the BIOS, through the
; graphics controller's write modes, by chained and unchained bytes, through VBE's window and its linear framebuffer.
; Prints the name of each picture on COM1 and waits for a byte. Ends with `end`. vga-modes.test.ts drives it.
        bits 16
        org 0x7c00
        cpu 386

%define SECTORS 40

%macro VIDEO 1                  ; int 10h with AX
        mov ax, %1
        int 0x10
%endmacro
%macro OUTW 3                   ; port, index, value
        mov dx, %1
        mov ax, (%3) << 8 | (%2)
        out dx, ax
%endmacro
%define SEQ OUTW 0x3c4,
%define GC OUTW 0x3ce,
%define CRT OUTW 0x3d4,
%define MONO_CRT OUTW 0x3b4,
%macro ATTR 2                   ; index, value; the palette stays connected
        mov dx, 0x3da
        in al, dx
        mov dx, 0x3c0
        mov al, (%1) | 0x20
        out dx, al
        mov al, %2
        out dx, al
%endmacro
%macro DISPI 2
        mov dx, 0x1ce
        mov ax, %1
        out dx, ax
        inc dx
        mov ax, %2
        out dx, ax
%endmacro
%macro ES_IS 1
        push word %1
        pop es
%endmacro
%assign pictures 0
%macro PICTURE 1                ; begins a picture: name
        section .table
        dw draw%[pictures], %%name
        section .names
%%name: db %1, 10, 0
        section .text
draw%[pictures]:
%assign pictures pictures + 1
%endmacro

        section .text
start:  cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7000
        sti
        cld
        mov bx, 0x7e00
        mov si, 1
.load:  mov ax, si              ; sector SI by track, head, sector
        xor dx, dx
        mov cx, 18
        div cx
        mov cl, dl
        inc cl
        mov dh, al
        and dh, 1
        shr al, 1
        mov ch, al
        mov dl, 0
        mov ax, 0x0201
        int 0x13
        jc .load
        add bx, 512
        inc si
        cmp si, SECTORS
        jbe .load
        jmp main
        times 510 - ($ - $$) db 0
        dw 0xaa55

main:   mov al, 0x34            ; 1 kHz: to sleep, and yet to see the byte at once
        out 0x43, al
        mov al, 0xa9
        out 0x40, al
        mov al, 0x04
        out 0x40, al
        mov si, table
.next:  lodsw
        test ax, ax
        jz .end
        xchg ax, bx
        lodsw
        pusha
        push ax
        call bx
        xor ax, ax
        mov ds, ax
        cld
        pop si
        call print
        mov dx, 0x3fd
        jmp .look
.wait:  hlt
.look:  in al, dx
        test al, 1
        jz .wait
        mov dx, 0x3f8
        in al, dx
        popa
        jmp .next
.end:   mov si, end_name
        call print
        cli
        hlt

print:  lodsb
        test al, al
        jz .done
        mov ah, al
        mov dx, 0x3fd
.busy:  in al, dx
        test al, 0x20
        jz .busy
        mov dx, 0x3f8
        mov al, ah
        out dx, al
        jmp print
.done:  ret

; CX bytes at ES:DI, each made from its address
bytes:  mov ax, di
        add al, al
        add al, ah
        xor al, [cs:seed]
        stosb
        loop bytes
        ret
seed:   db 0x35
; every character with every attribute, CX cells at ES:0
cells:  xor di, di
.cell:  mov ax, di
        shr ax, 1
        mov ah, al
        ror ah, 3
        add ah, [cs:shade]
        stosw
        inc byte [cs:shade]
        loop .cell
        ret
shade:  db 0
; 256 DAC colours that differ
dac:    mov dx, 0x3c8
        xor al, al
        out dx, al
        inc dx
        xor cx, cx
.color: mov al, cl
        shr al, 2
        out dx, al
        mov al, cl
        and al, 0x3f
        out dx, al
        mov al, cl
        imul ax, 5
        and al, 0x3f
        out dx, al
        inc cl
        jnz .color
        ret
; FS is flat, 4 GiB
flat:   cli
        lgdt [gdt.pointer]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 8
        mov fs, bx
        and al, 0xfe
        mov cr0, eax
        sti
        ret
        align 8
gdt:    dq 0, 0x00cf92000000ffff
.pointer: dw 15
        dd gdt

%include "vga-text.inc"
%include "vga-graphics.inc"
%include "vga-vbe.inc"

        section .table align=2
        dw 0
        section .names align=1
end_name: db "end", 10, 0
        section .buffer align=2 nobits
buffer: resb 1024
