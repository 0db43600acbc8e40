/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what a guest's programs take for random, for tests of clones (test_clones.py).
 *
 *   probe serve   a workload: remembers secrets of its start, listens on ports 8080 and 8081, and
 *                 tells its secrets to clients of the abstract socket "probe"
 *   probe report  prints "source=value" lines of the kernel, of itself, and of the workload
 *
 * A source whose name ends in '~' gives numbers modulo 2^32 without the clock's part.  Two of them
 * count as equal if they are near each other.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static FILE *out;

/* made when this process starts */
static uint64_t session_key[2], prng, hash_seed;
static long long started_ns;
static volatile sig_atomic_t renewed;

static void say(const char *prefix, const char *name, const char *fmt, ...)
{
	va_list ap;
	fprintf(out, "%s%s=", prefix, name);
	va_start(ap, fmt);
	vfprintf(out, fmt, ap);
	va_end(ap);
	fputc('\n', out);
}

static long long now_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static uint64_t get_u64(void)
{
	uint64_t n = 0;
	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
		abort();
	return n;
}

static void say_file(const char *name, const char *path, size_t binary)
{
	char text[512] = "";
	int fd = open(path, O_RDONLY);
	size_t len = binary ? binary : sizeof(text) - 1;
	ssize_t n = fd < 0 ? -1 : read(fd, text, len);
	if (n < 0) {
		say("", name, "none (%s)", strerror(errno));
	} else if (binary) {
		uint64_t v;
		memcpy(&v, text, sizeof(v));
		say("", name, "%016llx", (unsigned long long)v);
	} else {
		text[strcspn(text, "\n")] = '\0';
		say("", name, "%s", text);
	}
	if (fd >= 0)
		close(fd);
}

/* Print the first line of a file that contains a word. */
static void say_line(const char *name, const char *path, const char *word)
{
	char line[512];
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strstr(line, word))
			continue;
		say("", name, "%s", line);
		fclose(file);
		return;
	}
	say("", name, "none");
}

static uint64_t next_random(void)
{
	prng ^= prng << 13;
	prng ^= prng >> 7;
	prng ^= prng << 17;
	return prng;
}

static void remember(void)
{
	const uint64_t *at_random = (const uint64_t *)getauxval(AT_RANDOM);
	session_key[0] = get_u64();
	session_key[1] = get_u64();
	prng = get_u64() | 1;
	hash_seed = at_random[0] ^ 0x9e3779b97f4a7c15u;
	started_ns = now_ns(CLOCK_REALTIME);
}

/* Print this process's own secrets, as "fresh" or as the workload. */
static void say_process(const char *prefix)
{
	const unsigned char *at_random = (const unsigned char *)getauxval(AT_RANDOM);
	uint64_t v, canary;
	int local = 0;

	memcpy(&v, at_random + 8, sizeof(v));
	say(prefix, "AT_RANDOM", "%016llx", (unsigned long long)v);
	__asm__("mov %%fs:0x28, %0" : "=r"(canary));
	say(prefix, "stack canary", "%016llx", (unsigned long long)canary);
	say(prefix, "stack address", "%lx", (unsigned long)(uintptr_t)&local >> 12);
	void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say(prefix, "mmap address", "%lx", (unsigned long)(uintptr_t)map);
	munmap(map, 4096);
	say(prefix, "heap address", "%lx", (unsigned long)syscall(SYS_brk, 0) >> 12);
	say(prefix, "program address", "%lx", (unsigned long)(uintptr_t)&say_process);
	say(prefix, "vDSO address", "%lx", getauxval(AT_SYSINFO_EHDR));
	say(prefix, "pid", "%d", getpid());
	say(prefix, "session key", "%016llx%016llx", (unsigned long long)session_key[0],
	    (unsigned long long)session_key[1]);
	say(prefix, "hash seed", "%016llx", (unsigned long long)hash_seed);
	say(prefix, "generator seeded at its start", "%016llx", (unsigned long long)next_random());
	say(prefix, "getrandom() now", "%016llx", (unsigned long long)get_u64());
	say(prefix, "start time", "%lld", started_ns);
}

static int to_port(int port, int from)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)from) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (from && bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		perror("bind");
	a.sin_port = htons((uint16_t)port);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		perror("connect");
	return fd;
}

static uint32_t source_port(int port)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	int fd = to_port(port, 0);
	getsockname(fd, (struct sockaddr *)&a, &len);
	close(fd);
	return ntohs(a.sin_port);
}

/* A TCP sequence number: a keyed hash of the addresses plus the clock in steps of 64 ns. */
static uint32_t isn(int port, int from, uint32_t *ret_stamp)
{
	int on = 1, queue = TCP_SEND_QUEUE;
	uint32_t seq = 0, stamp = 0;
	socklen_t len = sizeof(seq), stamp_len = sizeof(stamp);
	uint32_t before = (uint32_t)(now_ns(CLOCK_REALTIME) >> 6);
	int fd = to_port(port, from);
	getsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &stamp, &stamp_len);
	*ret_stamp = stamp - (uint32_t)(now_ns(CLOCK_MONOTONIC) / 1000000);
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) < 0 ||
	    getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &len) < 0)
		perror("TCP_REPAIR");
	close(fd);
	return seq - before;
}

static int bound_port(int type)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	bind(fd, (struct sockaddr *)&a, sizeof(a));
	getsockname(fd, (struct sockaddr *)&a, &len);
	close(fd);
	return ntohs(a.sin_port);
}

/* The identification field of a UDP packet that may be fragmented. */
static int packet_id(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	int dont = IP_PMTUDISC_DONT;
	unsigned char packet[256] = { 0 };
	int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = raw, .events = POLLIN };
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof(dont));
	sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to));
	if (poll(&p, 1, 5000) == 1 && recv(raw, packet, sizeof(packet), 0) < 0)
		perror("recv");
	close(raw);
	close(fd);
	return packet[4] << 8 | packet[5];
}

static unsigned long new_inode(void)
{
	struct stat st = { 0 };
	int fds[2];
	if (pipe(fds) == 0) {
		fstat(fds[0], &st);
		close(fds[0]);
		close(fds[1]);
	}
	return (unsigned long)st.st_ino;
}

static void say_kernel(void)
{
	char name[] = "/tmp/probe-XXXXXX";
	uint32_t stamp[2], first = isn(8080, 40001, &stamp[0]),
			   second = isn(8081, 40002, &stamp[1]);

	say("", "getrandom()", "%016llx", (unsigned long long)get_u64());
	say_file("/dev/urandom", "/dev/urandom", 8);
	say_file("/dev/random", "/dev/random", 8);
	say_file("random/uuid", "/proc/sys/kernel/random/uuid", 0);
	say_file("boot_id", "/proc/sys/kernel/random/boot_id", 0);
	say_file("machine-id", "/etc/machine-id", 0);
	say_file("hostname", "/proc/sys/kernel/hostname", 0);
	say_file("generation", "/run/mvm/generation", 0);
	say_file("MAC address", "/sys/class/net/eth0/address", 0);
	say_file("TCP Fast Open key", "/proc/sys/net/ipv4/tcp_fastopen_key", 0);
	say_line("kernel address", "/proc/kallsyms", " _stext");
	say_line("module address", "/proc/modules", "virtio");
	say("", "wall clock", "%lld", now_ns(CLOCK_REALTIME));
	say("", "time since boot", "%lld", now_ns(CLOCK_MONOTONIC));
	say("", "TCP sequence numbers~", "%u %u", first, second);
	say("", "TCP timestamp offsets~", "%u %u", stamp[0], stamp[1]);
	say("", "TCP source ports~", "%u %u", source_port(8080), source_port(8081));
	say("", "UDP source port", "%d %d", bound_port(SOCK_DGRAM), bound_port(SOCK_DGRAM));
	say("", "listening port", "%d %d", bound_port(SOCK_STREAM), bound_port(SOCK_STREAM));
	say("", "IPv4 packet id", "%d %d", packet_id(), packet_id());
	say("", "key serial", "%ld",
	    syscall(SYS_add_key, "user", "probe", "x", 1, -2 /* the process's keyring */));
	say("", "new inode", "%lu", new_inode());
	if (close(mkstemp(name)) == 0)
		unlink(name);
	say("", "temporary name", "%s", name);
	say("", "rand() without a seed", "%d", rand());
}

static void relay_workload(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0probe" };
	char room[4096];
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + 6) < 0)
		perror("the workload");
	fflush(out);
	while ((n = read(fd, room, sizeof(room))) > 0)
		if (write(1, room, (size_t)n) < 0)
			return;
}

static int listen_on(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &one, sizeof(one)); /* the kernel makes the key */
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0)
		perror("listen");
	return fd;
}

static void on_signal(int signal)
{
	renewed = signal;
}

static void serve(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0probe" };
	struct pollfd p[3] = { { .events = POLLIN }, { .events = POLLIN }, { .events = POLLIN } };
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &action, NULL);
	p[0].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(p[0].fd, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + 6) < 0 ||
	    listen(p[0].fd, 8) < 0)
		perror("bind");
	p[1].fd = listen_on(8081);
	p[2].fd = listen_on(8080); /* for the health check */
	for (;;) {
		int n = poll(p, 3, -1);
		if (renewed) { /* as a program should do when it learns of its restore */
			remember();
			printf("renewed by signal %d\n", (int)renewed);
			fflush(stdout);
			renewed = 0;
		}
		for (int i = 0; n > 0 && i < 3; i++) {
			if (!(p[i].revents & POLLIN))
				continue;
			int fd = accept4(p[i].fd, NULL, NULL, SOCK_CLOEXEC);
			out = i == 0 ? fdopen(fd, "w") : NULL;
			if (out) {
				say_process("workload: ");
				fclose(out);
			} else {
				close(fd);
			}
		}
	}
}

int main(int argc, char **argv)
{
	remember();
	out = stdout;
	if (argc > 1 && strcmp(argv[1], "serve") == 0)
		serve();
	say_kernel();
	say_process("new process: ");
	relay_workload();
	return 0;
}
