# A guest that records for ever: an ES1370 writes 16-bit stereo at 44100 Hz into memory, 256 KiB from 0x20000 on in a circle.
    .code16
    .globl _start
_start:
    cli
    movl $0x80000000, %ebx      # device 0 of PCI bus 0
find:
    movl %ebx, %eax
    call config
    inl %dx, %eax
    cmpl $0x50001274, %eax
    je found
    addl $0x800, %ebx
    cmpl $0x80010000, %ebx
    jb find
stop:
    hlt
    jmp stop
found:
    leal 4(%ebx), %eax          # it may use ports and write to memory
    call config
    movl $5, %eax
    outl %eax, %dx
    leal 0x10(%ebx), %eax       # its first port
    call config
    inl %dx, %eax
    andw $0xfffc, %ax
    movw %ax, %si
    movw $registers, %di
next:
    xorw %ax, %ax
    movw %ax, %ds
    movw (%di), %dx
    addw %si, %dx
    movl 2(%di), %eax
    outl %eax, %dx
    addw $6, %di
    cmpw $end, %di
    jb next
    jmp stop
config:                         # %dx: the port with the register of PCI configuration that %eax names
    movw $0xcf8, %dx
    outl %eax, %dx
    movw $0xcfc, %dx
    ret
registers:
    .word 0x0c; .long 0xd           # page of the recorder's registers
    .word 0x30; .long 0x20000       # where the samples go
    .word 0x34; .long 0xffff        # 32-bit words, less one
    .word 0x2c; .long 0xffff        # samples until it would interrupt
    .word 0x20; .long 0x30          # 16 bits, stereo, in a circle
    .word 0x00; .long 30 << 16 | 0x10   # 1411200 / (30 + 2) Hz; go
end:
    .org 510
    .word 0xaa55
