; Assembled into protected-mode.test.ts: nasm -f bin, deflated, base64.
; Loaded at 0x1000, entered in real mode at 0:1000. Result bytes through port E9; HLT at the end.
bits 16
org 0x1000
 xor ax,ax
 mov ds,ax
 mov ss,ax
 mov sp,0x8000
 ; single step of three NOPs in real mode
 mov word [4],step16
 mov word [6],0
 pushf
 pop ax
 or ax,0x100
 push ax
 popf
 nop
 nop
 nop
 pushf
 pop ax
 and ax,0xfeff
 push ax
 popf
 mov al,[count]
 out 0xe9,al            ; nop nop nop pushf pop and push popf = 8
 lgdt [gdtr]
 lidt [idtr]
 mov eax,cr0
 or al,1
 mov cr0,eax
 jmp dword 8:pm
step16: inc byte [count]
 iret
count: db 0
bits 32
pm: mov ax,16
 mov ds,ax
 mov es,ax
 mov ss,ax
 mov esp,0x8000
 mov ax,0x28
 ltr ax
 push 0x23
 push 0x7000
 push 0x3202
 push 0x1b
 push user
 iretd
user: mov ax,0x23
 mov ds,ax
 mov al,'U'
 out 0xe9,al            ; IOPL 3
 int 0x80
 ud2
 mov eax,[0x12345678]   ; beyond the 16 MB limit of DATA3: #GP
 mov al,'V'
 out 0xe9,al
 mov al,7
 int 0x80
 hlt                    ; #GP at CPL 3
sys: cmp al,7
 je last
 mov al,'S'
 out 0xe9,al
 iretd
last: mov eax,0x1234
 mov dr0,eax
 mov eax,bpt
 mov dr0,eax
 mov eax,0x402
 mov dr7,eax            ; code breakpoint 0, global
 nop
bpt: nop
 mov al,'E'
 out 0xe9,al
 iretd
undef: add dword [esp],2
 mov al,'D'
 out 0xe9,al
 iretd
gp: pop eax
 mov eax,[esp]
 cmp byte [eax],0xf4
 je stop
 add dword [esp],5
 mov al,'G'
 out 0xe9,al
 iretd
dbg: mov al,'B'
 out 0xe9,al
 mov eax,dr6
 out 0xe9,al
 or dword [esp+8],0x10000
 iretd
stop: ; double fault through a task gate: break the #GP gate, then fault
 mov al,'T'
 out 0xe9,al
 mov word [idt+13*8+2],0xf8
 mov eax,0
 mov fs,[bad]
 hlt
task2: mov al,'2'
 out 0xe9,al
 hlt
bad: dw 0xf0
align 8
gdt: dq 0
 dq 0x00cf9a000000ffff
 dq 0x00cf92000000ffff
 dq 0x00cffa000000ffff
 dw 0x0fff,0,0xf200,0x00c0
 dw 0x67,tss,0x8900,0
 dw 0x67,tss2,0x8900,0
gdtr: dw 0x37
 dd gdt
idtr: dw 0x7ff
 dd idt
align 16
tss: dd 0,0x9000,16
 times 0x68-12 db 0
tss2: dd 0,0,0,0,0,0,0,0
 dd task2,2
 dd 0,0,0,0,0xa000,0,0,0
 dd 16,8,16,16,0,0,0,0
 times 16 db 0
align 16
idt: dq 0
 dw dbg,8,0x8e00,0
 times 4 dq 0
 dw undef,8,0x8e00,0
 dq 0
 dw 0,0x30,0x8500,0
 times 4 dq 0
 dw gp,8,0x8e00,0
 times 0x80-14 dq 0
 dw sys,8,0xee00,0
