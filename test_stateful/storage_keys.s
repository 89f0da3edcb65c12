# An s390x image that runs sequences of storage key operations, with DAT on, as its console tells it.
#
# Input: a line for each sequence, a character for each step: 'A' + 4 * operation + page. Operations: 0 load, 1 store,
# 2 iske, 3 sske (with key 0), 4 rrbe. Pages 0 and 1 are mappings of one frame, 2 and 3 of another. A store stores the
# number of its step. Both frames are zeroed, and their keys set to 0, before each sequence.
#
# Output: a line for each sequence, two characters for each step: '0' + 4 * condition code of rrbe + 2 * R + C, with R
# and C as they are afterwards, and '0' + the low four bits of what was loaded.

	.equ	VIRTUAL, 0x80000
	.equ	REAL, 0x40000
	.equ	SCLP_WRITE_DATA, 0x00760005
	.equ	SCLP_READ_DATA, 0x00770005
	.equ	SCLP_WRITE_MASK, 0x00780005
	.equ	ASCII, 0x1a			# type of event: the VT220 console
	.equ	HEADER, 8			# of an SCCB
	.equ	EVENT, 6			# header of an event in it

	.text
	.globl	_start
_start:
	larl	%r1, on_interrupt
	mvc	0x1b0(16), 0(%r1)		# external new PSW
	larl	%r1, on_check
	mvc	0x1d0(16), 0(%r1)		# program new PSW
	larl	%r1, control
	lctlg	%c0, %c1, 0(%r1)
	larl	%r1, with_dat
	lpswe	0(%r1)

main:
	larl	%r3, mask
	llilf	%r2, SCLP_WRITE_MASK
	.insn	rre, 0xb2200000, %r2, %r3	# servc
	larl	%r10, out_text
	brasl	%r14, reset

wait:
	larl	%r1, with_dat_waiting
	lpswe	0(%r1)

interrupt:					# there may be input
	larl	%r3, in
	xc	0(HEADER, %r3), 0(%r3)
	mvhhi	0(%r3), 4096
	llilf	%r2, SCLP_READ_DATA
	.insn	rre, 0xb2200000, %r2, %r3	# servc
	clhhsi	6(%r3), 0x0020			# response code: events were read
	jne	wait
	llgh	%r9, HEADER(%r3)
	aghi	%r9, -(EVENT + 1)
	la	%r8, HEADER + EVENT + 1(%r3)	# the first byte says that characters follow
	ltgr	%r9, %r9
	jnp	interrupt

step:
	llgc	%r1, 0(%r8)
	la	%r8, 1(%r8)
	cghi	%r1, '\n'
	je	flush
	aghi	%r12, 1				# number of the step
	aghi	%r1, -'A'
	lghi	%r4, 3
	ngr	%r4, %r1			# page
	srlg	%r3, %r1, 2			# operation
	srlg	%r5, %r4, 1
	sllg	%r4, %r4, 12
	oilh	%r4, VIRTUAL >> 16		# its virtual address
	sllg	%r5, %r5, 12
	oilh	%r5, REAL >> 16			# the real address of its frame
	lghi	%r6, 0				# condition code
	lghi	%r11, 0				# what is loaded
	sllg	%r3, %r3, 2
	larl	%r1, operations
	b	0(%r3, %r1)
operations:
	j	load
	j	store
	j	done				# iske: done after each step
	j	set
	j	rrbe
load:
	lg	%r11, 0(%r4)
	j	done
store:
	stg	%r12, 0(%r4)
	j	done
set:
	lghi	%r7, 0
	sske	%r7, %r5
	j	done
rrbe:
	rrbe	%r0, %r5
	ipm	%r6
	srl	%r6, 28
done:
	lghi	%r7, 0
	iske	%r7, %r5
	srl	%r7, 1
	nill	%r7, 3
	sll	%r6, 2
	ar	%r7, %r6
	ahi	%r7, '0'
	stc	%r7, 0(%r10)
	nill	%r11, 15
	ahi	%r11, '0'
	stc	%r11, 1(%r10)
	la	%r10, 2(%r10)
next:
	brctg	%r9, step
	j	interrupt

flush:						# the end of a sequence: write what is there
	mvi	0(%r10), '\n'
	larl	%r3, out
	larl	%r1, out_text
	sgr	%r10, %r1
	aghi	%r10, EVENT + 1			# length of the text and its header
	sth	%r10, HEADER(%r3)
	aghi	%r10, HEADER
	xc	0(HEADER, %r3), 0(%r3)
	sth	%r10, 0(%r3)
	llilf	%r2, SCLP_WRITE_DATA
	.insn	rre, 0xb2200000, %r2, %r3	# servc
	larl	%r10, out_text
	brasl	%r14, reset
	j	next

reset:
	lghi	%r12, 0
	lghi	%r7, 0
	llilf	%r4, VIRTUAL
	stg	%r12, 0(%r4)
	llilf	%r4, VIRTUAL + 0x2000
	stg	%r12, 0(%r4)
	llilf	%r5, REAL
	sske	%r7, %r5
	llilf	%r5, REAL + 0x1000
	sske	%r7, %r5
	br	%r14

	.data
	.balign	4096
segments:					# segment table: the first megabyte
	.quad	pages
	.rept	511
	.quad	0x20				# invalid
	.endr
pages:						# page table: virtual is real, but for four pages
	.set	page, 0
	.rept	256
	.if	(page >= VIRTUAL) && (page < VIRTUAL + 0x4000)
	.quad	REAL + ((page - VIRTUAL) / 0x2000) * 0x1000
	.else
	.quad	page
	.endif
	.set	page, page + 0x1000
	.endr

	.balign	16
with_dat:
	.quad	0x0400000180000000, main
with_dat_waiting:
	.quad	0x0502000180000000, wait	# and with external interrupts
on_interrupt:
	.quad	0x0400000180000000, interrupt
on_check:
	.quad	0x0002000180000000, 0		# a disabled wait ends QEMU
control:
	.quad	0x200				# CR0: service signals
	.quad	segments			# CR1: the segment table

	.balign	4096
mask:
	.short	28, 0, 0, 0, 0, 4
	.long	1 << (32 - ASCII), 1 << (32 - ASCII), 0, 0
	.balign	4096
out:
	.space	HEADER
	.short	0
	.byte	ASCII, 0, 0, 0
out_text:
	.balign	4096
in:
	.space	4096
