; Guests without firmware, each for ever in one of the states that snapshots are taken in.
;   nasm -f bin -DREP torture.asm -o rep.bin      (REP, HLT, UNREAL, V86, DMA, KEYS)
; A 64 KiB ROM that ends at 1 MiB. At 9000h the rounds done, at 9004h the errors found, at 9008h scene's own.
        bits 16
        org 0
%define ROUNDS 0x9000
%define ERRORS 0x9004
%define OWN    0x9008
start:  cli
        cld
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7000
        mov di, ROUNDS
        mov cx, 8
        rep stosw
        mov al, 2
        out 0x92, al

%ifdef REP
; Copies 64 KiB, compares them, changes one dword.
        mov ax, 0x1000
        mov es, ax
        xor di, di
        mov cx, 0x8000
.fill:  stosw
        add ax, 0x9e37
        loop .fill
.again: mov ax, 0x1000
        mov ds, ax
        mov ax, 0x2000
        mov es, ax
        xor si, si
        xor di, di
        mov cx, 0x4000
        rep movsd
        xor si, si
        xor di, di
        mov cx, 0x4000
        repe cmpsd
        mov ax, 0
        mov ds, ax
        je .same
        inc dword [ERRORS]
.same:  inc dword [ROUNDS]
        mov ax, 0x1000
        mov ds, ax
        inc dword [0x100]
        jmp .again
%endif

%ifdef HLT
; Sleeps until the timer ticks.
        mov word [8 * 4], tick
        mov word [8 * 4 + 2], 0xf000
        call flat
        mov esi, 0xfee00000             ; the local APIC lets the 8259's interrupts through
        mov dword [fs:esi + 0xf0], 0x1ff
        mov dword [fs:esi + 0x350], 0x700
        call pic
        mov al, 0x34
        out 0x43, al
        mov al, 11932 & 0xff
        out 0x40, al
        mov al, 11932 >> 8
        out 0x40, al
.again: sti
        hlt
        cli
        inc dword [ROUNDS]
        mov eax, [OWN]
        cmp eax, [ROUNDS]
        jae .again
        inc dword [ERRORS]              ; awake without a tick
        jmp .again
tick:   inc dword [OWN]
        mov al, 0x20
        out 0x20, al
        iret
%endif

%ifdef UNREAL
; Real mode with a 4 GiB limit left in FS: what selectors do not say must be saved too.
        mov word [13 * 4], fault
        mov word [13 * 4 + 2], 0xf000
        call flat
.again: mov esi, 0x120000
.page:  inc dword [fs:esi]
        add esi, 4096
        cmp esi, 0x1c0000
        jb .page
        inc dword [ROUNDS]
        jmp .again
fault:  inc dword [ERRORS]
        hlt
%endif

%ifdef V86
; Virtual-8086 code whose INT goes to a protected-mode handler each time.
        mov ax, cs
        mov ds, ax
        mov si, gdt
        mov di, 0x8400
        mov cx, 16
        rep movsw
        xor ax, ax
        mov ds, ax
        mov di, 0x8000
        mov cx, 52
        rep stosw
        mov dword [0x8004], 0x7800      ; ring 0 stack
        mov word [0x8008], 16
        mov word [0x8066], 104
        mov word [0x8800 + 13 * 8], handler
        mov word [0x8802 + 13 * 8], 8
        mov word [0x8804 + 13 * 8], 0x8e00
        mov word [0x8806 + 13 * 8], 0x000f
        lgdt [cs:gdtr]
        lidt [cs:idtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 8:(0xf0000 + prot)
        bits 32
prot:   mov ax, 16
        mov ds, ax
        mov ss, ax
        mov esp, 0x7400
        mov ax, 24
        ltr ax
        xor eax, eax
        push eax                        ; gs
        push eax                        ; fs
        push eax                        ; ds
        push eax                        ; es
        push eax                        ; ss
        push dword 0x6f00
        push dword 0x20002
        push dword 0xf000
        push dword v86
        iretd
handler:
        push eax
        mov ax, 16
        mov ds, ax
        test dword [esp + 16], 0x20000
        jnz .ok
        inc dword [ERRORS]
.ok:    inc dword [ROUNDS]
        add dword [esp + 8], 2
        pop eax
        add esp, 4
        iretd
        bits 16
v86:    mov cx, 300
.wait:  inc word [0x6000]
        push cx
        pop cx
        loop .wait
        int 0x20
        jmp v86
%endif

%ifdef DMA
; Writes 16 sectors by bus mastering, reads them back elsewhere, compares.
        mov eax, 0x80000920
        mov ecx, 0xc001
        call config
        mov eax, 0x80000904
        mov ecx, 5
        call config
.again: mov ax, 0x2000
        mov es, ax
        xor di, di
        mov cx, 2048
        mov eax, [ROUNDS]
.fill:  stosd
        add eax, 0x9e3779b9
        loop .fill
        mov dword [0x5000], 0x20000
        mov dword [0x5004], 0x80002000
        mov bx, 0x00ca
        call transfer
        mov dword [0x5000], 0x30000
        mov bx, 0x08c8
        call transfer
        mov ax, 0x3000
        mov es, ax
        mov ax, 0x2000
        mov ds, ax
        xor si, si
        xor di, di
        mov cx, 2048
        repe cmpsd
        mov ax, 0
        mov ds, ax
        je .same
        inc dword [ERRORS]
.same:  inc dword [ROUNDS]
        jmp .again
config: mov dx, 0xcf8
        out dx, eax
        mov dx, 0xcfc
        mov eax, ecx
        out dx, eax
        ret
transfer:                               ; BL command, BH direction
        mov dx, 0xc000
        xor al, al
        out dx, al
        mov dx, 0xc002
        mov al, 6
        out dx, al
        mov dx, 0xc004
        mov eax, 0x5000
        out dx, eax
        mov dx, 0xc000
        mov al, bh
        out dx, al
        mov dx, 0x3f6
        mov al, 2
        out dx, al
        mov dx, 0x1f6
        mov al, 0xe0
        out dx, al
        mov dx, 0x1f2
        mov al, 16
        out dx, al
        inc dx
        mov al, [ROUNDS]
        and al, 0x7f
        out dx, al
        inc dx
        mov al, 1
        out dx, al
        inc dx
        xor al, al
        out dx, al
        mov dx, 0x1f7
        mov al, bl
        out dx, al
        mov dx, 0xc000
        mov al, bh
        or al, 1
        out dx, al
.wait:  mov dx, 0xc002
        in al, dx
        test al, 1
        jnz .wait
        mov dx, 0x1f7
.busy:  in al, dx
        test al, 0x80
        jnz .busy
        test al, 1
        jz .done
        inc dword [ERRORS]
.done:  ret
%endif

%ifdef KEYS
; Keeps at OWN what is held: scan codes in set 1, one bit each for up to 128 keys at 9100h; echoes COM1.
        xor ax, ax
        mov di, 0x9100
        mov cx, 64
        rep stosw
        mov al, 0x60
        out 0x64, al
.full:  in al, 0x64
        test al, 2
        jnz .full
        mov al, 0x40                    ; translation, no interrupts
        out 0x60, al
.again: inc dword [ROUNDS]
        mov dx, 0x3fd
        in al, dx
        test al, 1
        jz .key
        mov dx, 0x3f8
        in al, dx
        out dx, al
.key:   in al, 0x64
        test al, 1
        jz .again
        in al, 0x60
        cmp al, 0xe0
        jae .again
        movzx bx, al
        and bl, 0x7f
        mov ah, 1
        test al, 0x80
        jz .put
        mov ah, 0
.put:   mov [0x9100 + bx], ah
        inc dword [OWN]
        jmp .again
%endif

; FS reaches 4 GiB.
flat:   lgdt [cs:gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 16
        mov fs, bx
        and al, 0xfe
        mov cr0, eax
        ret

pic:    mov al, 0x11
        out 0x20, al
        mov al, 8
        out 0x21, al
        mov al, 4
        out 0x21, al
        mov al, 1
        out 0x21, al
        mov al, 0xfe
        out 0x21, al
        mov al, 0xff
        out 0xa1, al
        ret

        align 8
gdt:    dq 0
        dq 0x00cf9b000000ffff
        dq 0x00cf93000000ffff
        dq 0x0000890080000067           ; TSS at 8000h
gdtr:   dw 31
%ifdef V86
        dd 0x8400
%else
        dd 0xf0000 + gdt
%endif
idtr:   dw 14 * 8 - 1
        dd 0x8800

        times 0xfff0 - ($ - $$) db 0x90
        jmp 0xf000:start
        times 0x10000 - ($ - $$) db 0
