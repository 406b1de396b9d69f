# A guest with a picture that JPEG likes: 320x200 in 256 shades of grey, gently curved everywhere. First all of it moves (200
# frames), then only the bottom fifth, until a key is pressed. The frames are counted at 0x7e00 (32 bits).
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movl $0, 0x7e00
    sti
    movw $0x0013, %ax
    int $0x10
    movw $0xa000, %ax
    movw %ax, %es
    movw $0x3c8, %dx            # palette: shades of grey
    xorb %al, %al
    outb %al, %dx
    incw %dx
    xorw %cx, %cx
1:  movb %cl, %al
    shrb $2, %al
    outb %al, %dx
    outb %al, %dx
    outb %al, %dx
    incw %cx
    cmpw $256, %cx
    jb 1b
frame:
    xorw %cx, %cx               # first row to draw
    cmpl $200, 0x7e00
    jb 2f
    movw $160, %cx
2:  movw %cx, %ax
    movw $320, %bx
    mulw %bx
    movw %ax, %di
row:
    xorw %si, %si               # column
pixel:
    movw %si, %ax               # (x*x + y*y) / 256 + frame, up and down
    mulw %si
    shrw $8, %ax
    movb %dl, %ah               # 32 bits: the product is below 2^17
    movw %ax, %bx
    movw %cx, %ax
    mulw %cx
    shrw $8, %ax
    addw %bx, %ax
    addw 0x7e00, %ax
    testb $1, %ah
    jz 3f
    notb %al
3:  stosb
    incw %si
    cmpw $320, %si
    jb pixel
    incw %cx
    cmpw $200, %cx
    jb row
    incl 0x7e00
    movb $1, %ah
    int $0x16
    jz frame
stop:
    hlt
    jmp stop
    .org 510
    .word 0xaa55
