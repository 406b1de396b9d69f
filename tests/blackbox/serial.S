# A guest that fits into a boot sector: what its first serial port hears it says in the other case, what its second hears
# it says as it is.
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    # Both ports with their FIFOs.
    movb $7, %al
    movw $0x3fa, %dx
    outb %al, %dx
    movw $0x2fa, %dx
    outb %al, %dx
loop:
    movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jz second
    movw $0x3f8, %dx
    inb %dx, %al
    xorb $0x20, %al
    call say
second:
    movw $0x2fd, %dx
    inb %dx, %al
    testb $1, %al
    jz loop
    movw $0x2f8, %dx
    inb %dx, %al
    call say
    jmp loop
# Says al at the port of dx.
say:
    movb %al, %bl
    addw $5, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    subw $5, %dx
    movb %bl, %al
    outb %al, %dx
    ret
    .org 510
    .word 0xaa55
