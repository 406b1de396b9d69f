# A guest that fits into a boot sector: 80x25 text without a blinking cursor, every key typed is shown,
# and its scan code in hexadecimal behind it. Escape switches to 320x200 graphics and, pressed again, starts anew.
# The word at 0x5000 counts the starts: what was on the screen before a reset may be seen for a moment after it.
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    incl 0x5000
anew:
    movw $0x0003, %ax
    int $0x10
    movb $0x01, %ah
    movw $0x2000, %cx
    int $0x10
    # The first call of the keyboard service sets the LEDs, which loses keys typed at that moment: done before we ask for keys.
    movb $0x01, %ah
    int $0x16
    movw $banner, %si
1:  lodsb
    testb %al, %al
    jz key
    movb $0x0e, %ah
    movw $0x0007, %bx
    int $0x10
    jmp 1b
key:
    xorb %ah, %ah
    int $0x16
    cmpb $1, %ah
    je graphics
    pushw %ax
    movb $0x0e, %ah
    movw $0x0007, %bx
    int $0x10
    popw %ax
    pushw %ax
    shrb $4, %ah
    call digit
    popw %ax
    call digit
    movb $' ', %al
    movb $0x0e, %ah
    int $0x10
    jmp key
graphics:
    movw $0x0013, %ax
    int $0x10
2:  xorb %ah, %ah
    int $0x16
    cmpb $1, %ah
    jne 2b
    jmp anew
digit:
    movb %ah, %al
    andb $0x0f, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 2f
    addb $39, %al
2:  movb $0x0e, %ah
    movw $0x0007, %bx
    int $0x10
    ret
banner:
    .asciz "READY> "
    .org 510
    .word 0xaa55
