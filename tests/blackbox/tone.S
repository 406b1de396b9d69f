# A guest that beeps for ever: 440 Hz from the speaker of the first PCs. It asks for the tone again every other second, since a
# speaker that came from another host says nothing before.
    .code16
    .globl _start
_start:
    # Channel 2 of the timer makes a square wave of 1193182 Hz / 2712.
    movb $0xb6, %al
    outb %al, $0x43
    movb $0x98, %al
    outb %al, $0x42
    movb $0x0a, %al
    outb %al, $0x42
again:
    inb $0x61, %al
    orb $3, %al
    outb %al, $0x61
    sti
    # The firmware's clock ticks 18 times a second.
    movw $36, %cx
1:  hlt
    loop 1b
    jmp again
    .org 510
    .word 0xaa55
