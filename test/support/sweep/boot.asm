; The last 4 KiB of the sweep's ROM: from reset to protected mode, harness and arena into RAM.
bits 16
org 0xf000
entry:
 cli
 db 0x66
 lgdt [cs:gdtr]
 mov eax,cr0
 or al,1
 mov cr0,eax
 jmp dword 8:ROMEND-0x1000+(flat-$$)
bits 32
flat:
 mov ax,0x10
 mov ds,ax
 mov es,ax
 mov ss,ax
 cld
 mov esi,HARNESS
 mov edi,0x20000
 mov ecx,0x8000/4
 rep movsd
 mov esi,PRISTINE
 mov edi,0x40000
 mov ecx,0x8000/4
 rep movsd
 mov eax,0x20000
 jmp eax
align 8
gdt: dq 0
 dq 0x00cf9b000000ffff
 dq 0x00cf93000000ffff
gdtr: dw 0x17
 dd ROMEND-0x1000+(gdt-$$)
times 0xff0-($-$$) db 0
bits 16
 jmp 0xf000:entry
times 0x1000-($-$$) db 0
