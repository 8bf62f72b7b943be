/*
 * For user-mode Linux 6.1 on processors with AMX, loaded into it with LD_PRELOAD.
 *
 * Of a process's floating-point state it keeps the first 2696 bytes (FP_SIZE in
 * arch/x86/um/os-Linux/registers.c): all that there is up to AVX-512 and protection keys. With AMX
 * there are 11008, and Linux takes nothing less than the whole state (xstateregs_set in
 * arch/x86/kernel/fpu/regset.c: EFAULT), so that the first program of a host already dies.
 *
 * Here the rest is left out where the state is read, and is the initial one where it is set. It is
 * never any other: a program has to ask for AMX, by a system call that user-mode Linux lacks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Where in the state a bit for each of its parts says whether it is other than initial. */
enum { PARTS = 512 };
#define PARTS_OF_AMX (3ULL << 17)

typedef long Ptrace(enum __ptrace_request, ...);

/* Not on the stack, which in a kernel is small. Only one thread of it traces. */
static _Alignas(64) char whole[1 << 16];
static size_t whole_size;

static void leave_out_amx(void *state)
{
	uint64_t parts;

	memcpy(&parts, (char *)state + PARTS, sizeof(parts));
	parts &= ~PARTS_OF_AMX;
	memcpy((char *)state + PARTS, &parts, sizeof(parts));
}

static long get(Ptrace *traced, pid_t pid, void *type, struct iovec *wanted)
{
	struct iovec all = { whole, sizeof(whole) };
	long result = traced(PTRACE_GETREGSET, pid, type, &all);

	if (result < 0)
		return result;
	whole_size = all.iov_len;
	if (wanted->iov_len > whole_size)
		wanted->iov_len = whole_size;
	memcpy(wanted->iov_base, whole, wanted->iov_len);
	leave_out_amx(wanted->iov_base);
	return result;
}

static long set(Ptrace *traced, pid_t pid, void *type, struct iovec *wanted)
{
	struct iovec all = { whole, whole_size };

	if (wanted->iov_len >= whole_size)
		return traced(PTRACE_SETREGSET, pid, type, wanted);
	memset(whole, 0, whole_size);
	memcpy(whole, wanted->iov_base, wanted->iov_len);
	leave_out_amx(whole);
	return traced(PTRACE_SETREGSET, pid, type, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	static Ptrace *traced;
	va_list arguments;
	pid_t pid;
	void *address, *data;

	va_start(arguments, request);
	pid = va_arg(arguments, pid_t);
	address = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);
	if (!traced)
		traced = (Ptrace *)dlsym(RTLD_NEXT, "ptrace");
	/* It reads one before it sets any, to see whether it can. */
	if (request == PTRACE_GETREGSET && address == (void *)NT_X86_XSTATE)
		return get(traced, pid, address, data);
	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
		return set(traced, pid, address, data);
	return traced(request, pid, address, data);
}
