# A guest that beeps for ever: 440 Hz from the speaker of the first PCs.
    .code16
    .globl _start
_start:
    cli
    # Channel 2 of the timer makes a square wave of 1193182 Hz / 2712.
    movb $0xb6, %al
    outb %al, $0x43
    movb $0x98, %al
    outb %al, $0x42
    movb $0x0a, %al
    outb %al, $0x42
    inb $0x61, %al
    orb $3, %al
    outb %al, $0x61
1:  hlt
    jmp 1b
    .org 510
    .word 0xaa55
