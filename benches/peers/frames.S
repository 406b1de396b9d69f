# A guest of three disk sectors that shows pixels which the host loaded into its memory: 1024x768 in 32 bits, paced by the timer, asleep in between.
# The host patches scene (0 video, 1 page, 2 typing, 3 idle) and pace (50ths of a second per frame) into the boot sector's last bytes and loads pixels
# at 16 MiB: film frames of 640x360, or a page of 960 pixels width. Frames are counted at 0x500, keys at 0x504 (32 bits each).
# Counter block (16x16 at 1000,744) in the frame's colour; key block (16x16 at 936,744) changes with every key event.
    .code16
    .globl _start
    .set DATA, 0x1000000
    .set FILM, 25
    .set PAGE_ROWS, 6000
    .set STRIDE, 4096
    .set frame, 0x500
    .set keys, 0x504
    .set ticks, 0x508
    .set drawn, 0x50c
    .set due, 0x510
    .set lfb, 0x514
    .set row, 0x518
    .set step, 0x51c
_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    movw $0x202, %ax            # the other two sectors
    movw $0x7e00, %bx
    movw $2, %cx
    xorb %dh, %dh
    int $0x13
    cli
    xorw %ax, %ax
    movw $0x500, %di
    movw $16, %cx
    rep stosw
    inb $0x92, %al
    orb $2, %al
    outb %al, $0x92
    movw $modes, %si            # Bochs display: off, size, depth, on with linear framebuffer
1:  lodsw
    movw $0x1ce, %dx
    outw %ax, %dx
    lodsw
    incw %dx
    outw %ax, %dx
    cmpw $modes_end, %si
    jb 1b
    movl $0x80000008, %ebx      # the PCI device of class 03 and its first BAR
2:  movl %ebx, %eax
    movw $0xcf8, %dx
    outl %eax, %dx
    movw $0xcfc, %dx
    inl %dx, %eax
    shrl $24, %eax
    cmpb $3, %al
    je 3f
    addl $0x800, %ebx
    jmp 2b
3:  leal 8(%ebx), %eax
    movw $0xcf8, %dx
    outl %eax, %dx
    movw $0xcfc, %dx
    inl %dx, %eax
    andb $0xf0, %al
    movl %eax, lfb
    lgdt gdtr                   # segments of 4 GiB, kept when going back
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    jmp 4f
4:  movw $8, %bx
    movw %bx, %ds
    movw %bx, %es
    andb $0xfe, %al
    movl %eax, %cr0
    xorw %bx, %bx
    movw %bx, %ds
    movw %bx, %es
    movw $on_tick, 4 * 8
    movw %bx, 4 * 8 + 2
    movw $on_key, 4 * 9
    movw %bx, 4 * 9 + 2
    movb $0x34, %al             # 50 Hz
    outb %al, $0x43
    movw $23864, %ax
    outb %al, $0x40
    movb %ah, %al
    outb %al, $0x40
    movl $32, step
    jmp loop
modes:
    .word 4, 0, 1, 1024, 2, 768, 3, 32, 4, 0x41
modes_end:
gdt:
    .quad 0, 0x00cf92000000ffff
gdtr:
    .word 15
    .long gdt
    .org 508
scene:
    .byte 0
pace:
    .byte 2
    .word 0xaa55

loop:
    cli
    movl keys, %eax
    cmpl drawn, %eax
    jne key
    movl ticks, %eax
    cmpl due, %eax
    jae draw
    sti
    hlt
    jmp loop
key:
    sti
    movl %eax, drawn
    imull $0x00351b2d, %eax
    movl $(744 * STRIDE + 936 * 4), %edi
    call square
    jmp loop
draw:
    sti
    movzbl pace, %eax
    addl %eax, due
    incl frame
    movb scene, %al
    cmpb $1, %al
    je page
    ja small
    movl frame, %eax            # film
    xorl %edx, %edx
    movl $FILM, %ecx
    divl %ecx
    imull $(640 * 360 * 4), %edx, %esi
    movl $(160 * STRIDE + 192 * 4), %edi
    movw $360, %bx
    movl $640, %ecx
    movl $(640 * 4), %edx
    jmp show
page:
    movl row, %eax              # up and down the page
    addl step, %eax
    cmpl $(PAGE_ROWS - 680), %eax
    jb 5f
    negl step
    jmp page
5:  movl %eax, row
    imull $(960 * 4), %eax, %esi
    movl $(8 * STRIDE + 16 * 4), %edi
    movw $680, %bx
    movl $960, %ecx
    movl $(960 * 4), %edx
    jmp show
small:
    cmpb $2, %al
    ja count
    movl frame, %eax            # a glyph of 8x12 at the next of 100 places in a line, cut from the page
    xorl %edx, %edx
    movl $100, %ecx
    divl %ecx
    imull $(16 * STRIDE), %eax, %edi
    shll $5, %edx
    leal (20 * STRIDE + 80)(%edi, %edx), %edi
    leal (40 * 960 * 4)(%edx), %esi
    movw $12, %bx
    movl $8, %ecx
    movl $(960 * 4), %edx
show:
    call blit
count:
    movl frame, %eax            # the number's three nibbles, each in the high half of a colour's byte
    movl %eax, %ebx
    movl %eax, %ecx
    andl $0xf, %eax
    andl $0xf0, %ebx
    andl $0xf00, %ecx
    shll $4, %eax
    shll $8, %ebx
    shll $12, %ecx
    orl %ebx, %eax
    orl %ecx, %eax
    orl $0x080808, %eax
    movl $(744 * STRIDE + 1000 * 4), %edi
    call square
    jmp loop

square:                         # eax: colour, edi: where
    addl lfb, %edi
    movw $16, %bx
6:  movl $16, %ecx
    pushl %edi
    addr32 rep stosl
    popl %edi
    addl $STRIDE, %edi
    decw %bx
    jnz 6b
    ret
blit:                           # esi: from, offset in DATA; edx: its stride; edi: where; ecx x bx: size
    addl $DATA, %esi
    addl lfb, %edi
7:  pushl %ecx
    pushl %esi
    pushl %edi
    addr32 rep movsl
    popl %edi
    popl %esi
    popl %ecx
    addl %edx, %esi
    addl $STRIDE, %edi
    decw %bx
    jnz 7b
    ret
on_tick:
    incl ticks
    jmp 8f
on_key:
    pushw %ax
    inb $0x60, %al
    popw %ax
    incl keys
8:  pushw %ax
    movb $0x20, %al
    outb %al, $0x20
    popw %ax
    iretw
    .org 1536
