# A guest that never rests: 320x200 in 256 colours, all pixels redrawn for ever; the ticks counted at the top left of
# memory (0x7e00, 32 bits) tell how many frames it has drawn.
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movl $0, 0x7e00
    movw $0x0013, %ax
    int $0x10
    movw $0xa000, %ax
    movw %ax, %es
frame:
    xorw %di, %di
    movw 0x7e00, %bx
1:  movw %di, %ax
    shrw $3, %ax
    addw %bx, %ax
    stosb
    cmpw $64000, %di
    jb 1b
    incl 0x7e00
    jmp frame
    .org 510
    .word 0xaa55
