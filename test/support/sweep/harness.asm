; Runs the cases of the protected-mode sweep (test/cpu/sweep.test.ts), found at ROMBASE, one after the other: restores the
; arena, applies the case's pokes, enters its code by IRETD, and writes to port E9 what came of it. Assembled by the test.
;
; A case, in dwords: bits for CR0, CR4, EDI ESI EBP 0 EBX EDX ECX EAX, DS ES FS GS, LDT, EIP CS EFLAGS ESP SS ES DS FS GS,
; number of pokes, address and value of each. CR0 = FFFFFFFF: the end.
bits 32
org 0x20000
ARENA equ 0x8000
ARENA_BYTES equ 0x8000
GDT equ 0x8000
IDT equ 0x8800
PRISTINE equ 0x40000
PD equ 0x30000
PT equ 0x31000
STACK equ 0x2f000

start:
 mov ax,0x10
 mov ss,ax
 mov esp,STACK
 mov dword [next],ROMBASE
 fninit
 jmp run

; ---- entries of all vectors, 16 bytes each, at 0x21000
times 0x1000-($-$$) db 0x90
stubs:
%assign v 0
%rep 256
 align 16
 db 0x68
 dd v
 jmp near caught
%assign v v+1
%endrep

caught:
 pushad
 push ds
 mov ax,0x10
 mov ds,ax
 mov ax,ss
 lar eax,ax
 mov ebp,esp
 test eax,1<<22
 jnz .wide
 movzx ebp,sp
.wide:
 xor ecx,ecx
.copy: mov eax,[ss:ebp+ecx*4]
 mov [save+ecx*4],eax
 inc ecx
 cmp ecx,16
 jne .copy
 and dword [save],0xffff
 add esp,40
 mov [save_esp],esp
 mov [save_ss],ss
saved:
 mov [save_es],es
 mov [save_fs],fs
 mov [save_gs],gs
 str [save_tr]
 sldt [save_ldt]
 mov eax,cr2
 mov [save_cr2],eax
 mov eax,cr0
 mov [save_cr0],eax
 mov eax,0x11
 mov cr0,eax
 xor eax,eax
 mov cr4,eax
 mov ax,0x10
 mov ss,ax
 mov esp,STACK
 mov es,ax
 push dword 2
 popfd
 cld
 call report
run:
 mov ax,0x10
 mov ds,ax
 mov es,ax
 xor eax,eax
 mov fs,ax
 mov gs,ax
 mov cr2,eax
 mov dr7,eax
 mov esi,PRISTINE
 mov edi,ARENA
 mov ecx,ARENA_BYTES/4
 rep movsd
 lgdt [gdtr]
 lidt [idtr]
 mov ax,0x20
 ltr ax
 mov ebp,[next]
 cmp dword [ebp],-1
 je finish
 cmp dword [ebp],0
 jns .flat
 call tables
.flat:
 ; pokes
 mov ecx,[ebp+96]
 lea esi,[ebp+100]
.poke: jecxz .poked
 mov edi,[esi]
 mov eax,[esi+4]
 mov [edi],eax
 add esi,8
 dec ecx
 jmp .poke
.poked:
 mov [next],esi
 lldt [ebp+56]
 mov eax,PD
 mov cr3,eax
 mov eax,[ebp+4]
 mov cr4,eax
 mov eax,[ebp]
 or eax,0x11
 mov edx,eax
 ; the frame for IRETD
 test dword [ebp+68],0x20000
 jnz .outer
 test dword [ebp+64],3
 jnz .outer
 lss esp,[ebp+72]
 push dword [ebp+68]
 push dword [ebp+64]
 push dword [ebp+60]
 jmp .load
.outer:
 mov ecx,9
.frame: push dword [ebp+56+ecx*4]
 loop .frame
.load:
 mov es,[ebp+44]
 mov fs,[ebp+48]
 mov gs,[ebp+52]
 push dword [ebp+40]
 mov ebx,[ebp+8]
 push ebx
 mov ebx,[ebp+12]
 push ebx
 push dword [ebp+16]
 push dword 0
 push dword [ebp+24]
 push dword [ebp+28]
 push dword [ebp+32]
 push dword [ebp+36]
 mov cr0,edx
 ; order on the stack: EAX ECX EDX EBX - EBP ESI EDI DS frame
 pop eax
 pop ecx
 pop edx
 pop ebx
 add esp,4
 pop ebp
 pop esi
 pop edi
 pop ds
 iretd

; identity map of the first 4 MB, everything present, writable, user
tables:
 mov edi,PD
 xor eax,eax
 mov ecx,8
 rep stosd
 mov dword [PD],PT+7
 mov edi,0x27f00
 mov ecx,0x1200/4
 rep stosd
 mov edi,PT
 mov eax,7
.one: mov [edi],eax
 add edi,4
 add eax,0x1000
 cmp edi,PT+0x1000
 jne .one
 ret

; ---- the line
hex:
 push ecx
 push edx
 mov edx,eax
 mov ecx,8
.skip: cmp ecx,1
 je .digit
 test edx,0xf0000000
 jnz .digit
 shl edx,4
 dec ecx
 jmp .skip
.digit: rol edx,4
 mov al,dl
 and al,15
 cmp al,10
 jb .low
 add al,'a'-'0'-10
.low: add al,'0'
 out 0xe9,al
 loop .digit
 mov al,' '
 out 0xe9,al
 pop edx
 pop ecx
 ret

; digest of ECX dwords at ESI
digest:
 xor eax,eax
.one: rol eax,5
 add eax,[esi]
 add esi,4
 loop .one
 jmp hex

report:
 mov al,'@'
 out 0xe9,al
 mov ebx,order
 xor edx,edx
.one: movzx edx,byte [ebx]
 cmp edx,255
 je .digests
 mov eax,[save+edx*4]
 call hex
 inc ebx
 jmp .one
.digests:
 mov esi,GDT
 mov ecx,0x500/4
 call digest
 mov esi,0x9000
 mov ecx,0x800/4
 call digest
 mov esi,PD
 mov ecx,8
 call digest
 mov esi,PT
 mov ecx,64
 call digest
 mov esi,0xd000
 mov ecx,0x1000/4
 call digest
 mov al,10
 out 0xe9,al
 ret
; vector, frame of six, EAX ECX EDX EBX EBP ESI EDI, ESP, SS DS ES FS GS, TR, LDT, CR0, CR2; digests: tables, TSSs,
; page directory and table, data at 0xd000
order: db 9, 10,11,12,13,14,15, 8,7,6,5,3,2,1, 16,17,0,18,19,20,21,22,23,24,255

finish:
 mov esi,.text
 mov ecx,4
.say: lodsb
 out 0xe9,al
 loop .say
 ; Bochs buffers: push the end out, it is killed when it was seen
 mov ecx,8192
 mov al,10
.fill: out 0xe9,al
 loop .fill
 mov al,0
 mov dx,0x501
 out dx,al
 cli
 hlt
.text: db 'END',10

; ---- real mode: entries of all vectors, 8 bytes each, and the table that leads to them
bits 16
align 16
real_stubs:
%assign v 0
%rep 256
 align 8
 db 0x68
 dw v
 jmp near caught_real
%assign v v+1
%endrep
; the stack may be anywhere: own one from here on
caught_real:
 mov [cs:save_esp-start],esp
 mov [cs:save_ss-start],ss
 lss esp,[cs:own_stack-start]
 pushad
 push ds
 mov eax,cr0
 or al,1
 mov cr0,eax
 jmp dword 8:from_real
bits 32
from_real:
 mov ax,0x10
 mov ds,ax
 pop ax
 movzx eax,ax
 mov [save],eax
 mov ecx,1
.registers: pop dword [save+ecx*4]
 inc ecx
 cmp ecx,9
 jne .registers
 movzx ebx,word [save_ss]
 shl ebx,4
 mov ebp,[save_esp]
 xor ecx,ecx
.frame: lea edx,[ebp+ecx*2]
 movzx edx,dx
 movzx eax,word [ebx+edx]
 mov [save+36+ecx*4],eax
 inc ecx
 cmp ecx,7
 jne .frame
 jmp saved
align 4
own_stack: dw 0xf000,0,0x2000

; the double-fault task
df:
 push dword 8
 jmp caught
align 4
gdtr: dw 0x3ff
 dd GDT
align 4
idtr: dw 0x7ff
 dd IDT
align 4
next: dd 0
save: times 16 dd 0
save_esp: dd 0
save_ss: dd 0
save_es: dd 0
save_fs: dd 0
save_gs: dd 0
save_tr: dd 0
save_ldt: dd 0
save_cr0: dd 0
save_cr2: dd 0
times 0x4000-($-$$) db 0
; the real-mode vector table, at 0x24000
real_table:
%assign v 0
%rep 256
 dw (real_stubs-start)+v*8, 0x2000
%assign v v+1
%endrep
