; demo.img: a disk that boots on any PC BIOS and shows that a machine is alive and whole.
;
; It draws a picture that moves, answers keyboard and COM1, writes and checks its own disk sectors
; by PIO and bus-master DMA in turn, and watches a pattern in RAM. Whatever is lost or doubled by a
; snapshot shows up at once as `ERROR ...` on COM1 and in red on the screen. See README.
;
; Assembled with nasm to a raw image of 1 MiB. Needs 8 MiB of RAM.

bits 16
org 0x7c00

; Fixed memory, all below 640 KiB; the code lies at 7C00.
BACKDROP        equ 0x10000         ; 320x200 plasma without logo and panel
GENERATIONS     equ 0x20000         ; a dword for every page of the RAM pattern
WRITE_BUFFER    equ 0x24000
READ_BUFFER     equ 0x25000
PRD_TABLE       equ 0x26000
IDT             equ 0x27000
TX_RING         equ 0x28000         ; 4 KiB
DISK_STACK      equ 0x88000
MAIN_STACK      equ 0x90000

PATTERN_BASE    equ 0x200000        ; 4 MiB of pattern from 2 MiB on
PATTERN_PAGES   equ 1024

RING_LBA        equ 1024            ; the test area; all of it is checked within 13 s
RING_SECTORS    equ 256

TICKS_PER_S     equ 100

%include "boot.inc"
bits 32
%include "main.inc"
%include "interrupts.inc"
%include "console.inc"
%include "keyboard.inc"
%include "disk.inc"
%include "memory.inc"
%include "screen.inc"
%include "vga.inc"
%include "power.inc"

font:
%macro GLYPH 8
  db %1, %2, %3, %4, %5, %6, %7, %8
%endmacro
%include "../firmware/font.inc"

CODE_END equ $
%if CODE_END-$$ > 512*(1+CODE_SECTORS)
  %error "the loader reads too few sectors"
%endif
        times 0x100000-($-$$) db 0
