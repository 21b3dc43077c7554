; A small kernel for wild programs (wild.ts): its handlers mend what a fault was about, or send the program elsewhere, so that it
; never ends. Interrupt 20h, at instruction counts that the test chooses, does mischief: pages go away, change place or rights,
; code changes, TF and breakpoints are set, the program finds itself somewhere else.
bits 32
org 0x9000
PD equ 0x1000
VARS equ 0x7800
random equ VARS
home equ VARS+4 ; where EIP belongs: 10000h, or 0 where CS has that base
home_code equ VARS+8
home_data equ VARS+12
home_stack equ VARS+16
faults equ VARS+0x100
DIRECT equ 0x100000 ; all of RAM, for the kernel
CODE equ 0x10000

%assign v 0
%rep 48
 align 16
%if v==8 || (v>=10 && v<=14) || v==17
 nop
 nop
%else
 push byte 0
%endif
 push dword v
 jmp near caught
%assign v v+1
%endrep

caught:
 pushad
 push ds
 push es
 mov ax,0x10
 mov ds,ax
 mov es,ax
 cld
 mov ebp,esp
 mov eax,[random]
 imul eax,eax,1103515245
 add eax,12345
 mov [random],eax
 mov ebx,eax
 shr ebx,8
 mov eax,[ebp+40]
 inc dword [faults+eax*4] ; by vector
 cmp eax,14
 je near page_fault
 cmp eax,32
 je near mischief
 cmp eax,1
 je near debug
 cmp eax,7
 je near no_fpu
 cmp eax,16
 je near fpu_error
 cmp eax,19
 je near simd_error
skip:
 and dword [ebp+56],~0x100
 or dword [ebp+56],0x200
 test ebx,0x60
 jnz .sound
 mov eax,[home_data]
 mov [ebp],eax
 mov [ebp+4],eax
 mov eax,[home_code]
 xor eax,[ebp+52]
 test al,3
 jnz .sound
 xor [ebp+52],eax
 test byte [ebp+52],3
 jz .sound
 mov eax,[home_stack]
 mov [ebp+60],eax
.sound:
 mov eax,[ebp+48]
 or eax,63
 inc eax
 test ebx,7
 jz .stay
 and eax,0x7fff
 or eax,[home]
.stay: mov [ebp+48],eax
done:
 pop es
 pop ds
 popad
 add esp,8
 iretd

no_fpu:
 clts
 jmp done
fpu_error:
 fnclex
 test ebx,3
 jnz done
 fninit
 jmp done
simd_error:
 push dword 0x1f80
 ldmxcsr [esp]
 add esp,4
 jmp done

debug:
 xor eax,eax
 mov dr7,eax
 mov dr6,eax
 test ebx,15
 jnz done
 and dword [ebp+56],~0x100
 jmp done

; the entry of the address in EAX, to EDI
entry:
 mov edi,eax
 shr edi,22
 mov edi,[PD+edi*4]
 and edi,0xfffff000
 mov edx,eax
 shr edx,12
 and edx,0x3ff
 lea edi,[edi+edx*4]
 ret

page_fault:
 mov eax,cr2
 cmp eax,CODE
 jb skip
 lea edx,[eax-0x100000]
 cmp edx,0x100000
 jb skip
 test ebx,3
 jz skip
 call entry
 test byte [ebp+44],1
 jnz .rights
 or dword [edi],5
.again: invlpg [eax]
 jmp done
.rights:
 test ebx,0x1c
 jnz skip
 or dword [edi],7
 jmp .again

; an address in EAX: mostly of the program's own pages
victim:
 mov eax,[random]
 test ebx,0x30
 jz .anywhere
 shr eax,9
 and eax,0x1ffff
 add eax,CODE
.anywhere: ret

mischief:
 xor ecx,ecx
 mov dr7,ecx
 mov ecx,ebx
 shr ecx,8
 and ecx,15
 jmp [.table+ecx*4]
align 4
.table: dd done,done,done,done,.move,.absent,.other,.step,.code,.ts,.break,.flush,.readonly,.stack,.code,.move
.move:
 mov eax,ebx
 shr eax,4
 and eax,0x7fc0
 or eax,[home]
 mov [ebp+48],eax
 and dword [ebp+56],~0x100
 jmp done
.absent:
 call victim
 call entry
 and dword [edi],~1
 invlpg [eax]
 jmp done
.other: ; another page of code at this place
 mov eax,[random]
 shr eax,9
 and eax,0x7000
 add eax,CODE
 call entry
 mov edx,[random]
 shr edx,5
 and edx,0x7000
 add edx,CODE+5
 mov [edi],edx
 invlpg [eax]
 jmp done
.step:
 or dword [ebp+56],0x100
 jmp done
.code:
 mov eax,[random]
 shr eax,7
 and eax,0x7fff
 mov [DIRECT+CODE+eax],bl
 jmp done
.ts:
 mov eax,cr0
 or al,8
 mov cr0,eax
 jmp done
.break:
 mov eax,ebx
 shr eax,6
 and eax,0x7fc0
 add eax,CODE
 test ebx,1
 jz .data
 mov dr0,eax
 mov eax,1
 mov dr7,eax
 jmp done
.data:
 add eax,0x8000
 mov dr0,eax
 mov eax,0xd0001
 mov dr7,eax
 jmp done
.flush:
 mov eax,cr3
 mov cr3,eax
 jmp done
.readonly:
 call victim
 call entry
 and dword [edi],~2
 invlpg [eax]
 jmp done
.stack:
 test byte [ebp+52],3
 jz done
 mov dword [ebp+60],0x24000
 jmp done
times 0x1000-($-$$) db 0
