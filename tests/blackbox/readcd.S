# A boot program on a CD: reads the CD that it was booted from through the firmware and sums up what it read.
# The image's second block of 512 bytes holds the first sector and the number of pieces of 8 sectors (16 KiB) to read.
#   0x5000  "OK" (0x4b4f) when all was read, the firmware's error code << 8 if that failed
#   0x5004  the sum: for each 32-bit word, sum * 31 + word
#   0x5008  how often this program ran: memory survives a reset
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7000, %sp
    sti
    movb %dl, drive
    movl first, %eax
    movl %eax, packet_sector
    movl $0, 0x5000
    movl $0, 0x5004
    incl 0x5008
next:
    cmpl $0, pieces
    je done
    movw $8, packet_count
    movw $packet, %si
    movb drive, %dl
    movb $0x42, %ah
    int $0x13
    jc failed
    movw $0x2000, %ax
    movw %ax, %es
    xorw %di, %di
    movw $4096, %cx
    movl 0x5004, %ebx
1:  imull $31, %ebx, %ebx
    addl %es:(%di), %ebx
    addw $4, %di
    loop 1b
    movl %ebx, 0x5004
    addl $8, packet_sector
    decl pieces
    jmp next
done:
    movw $0x4b4f, 0x5000
halt:
    hlt
    jmp halt
failed:
    xorb %al, %al
    movw %ax, 0x5000
    jmp halt
drive:
    .byte 0
    .balign 4
packet:
    .byte 16, 0
packet_count:
    .word 0
    .word 0, 0x2000
packet_sector:
    .long 0, 0
    .org 512
first:
    .long 0
pieces:
    .long 0
    .org 2048
