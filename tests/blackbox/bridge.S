# A guest that fits into a boot sector and joins its serial ports: what one hears it says at the other, so that the far
# end of the second can be the agent of the first. The word at 0x5000 becomes 0x4f4b ("KO") when it listens.
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    # Both ports with their FIFOs, which are emptied of what the firmware left.
    movb $7, %al
    movw $0x3fa, %dx
    outb %al, %dx
    movw $0x2fa, %dx
    outb %al, %dx
    # The fastest rate: QEMU takes the time that a byte would take.
    movw $0x3f8, %dx
    call fast
    movw $0x2f8, %dx
    call fast
    movw $0x4f4b, 0x5000
loop:
    movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jz second
    movw $0x3f8, %dx
    inb %dx, %al
    movw $0x2f8, %dx
    call say
second:
    movw $0x2fd, %dx
    inb %dx, %al
    testb $1, %al
    jz loop
    movw $0x2f8, %dx
    inb %dx, %al
    movw $0x3f8, %dx
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
# 115200 bits per second, 8 bits, for the port of dx.
fast:
    movw %dx, %cx
    addw $3, %dx
    movb $0x83, %al
    outb %al, %dx
    movw %cx, %dx
    movb $1, %al
    outb %al, %dx
    incw %dx
    xorb %al, %al
    outb %al, %dx
    addw $2, %dx
    movb $3, %al
    outb %al, %dx
    ret
    .org 510
    .word 0xaa55
