/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of tests/bench/network.py, as fast as a plain program is:
 *
 *	network-guest send ADDRESS PORT MIB    zeros, then the end
 *	network-guest take ADDRESS PORT        everything until the end
 *	network-guest echo ADDRESS PORT        each byte at once
 *	network-guest wait
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char block[1 << 18];

static int connected(const char *address, const char *port)
{
	const int on = 1;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || fd < 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		perror("network-guest: connect");
		exit(1);
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static int write_all(int fd, size_t len)
{
	for (ssize_t n = 0; len > 0; len -= (size_t)n)
		if ((n = write(fd, block, len < sizeof(block) ? len : sizeof(block))) < 0)
			return 1;
	return 0;
}

static int take(int fd, int echoes)
{
	ssize_t n;
	while ((n = read(fd, block, sizeof(block))) > 0)
		if (echoes && write_all(fd, (size_t)n))
			return 1;
	return n < 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "wait") == 0)
		return pause();
	if (argc < 4)
		return 2;
	int fd = connected(argv[2], argv[3]);
	if (strcmp(argv[1], "send") == 0 && argc == 5)
		return write_all(fd, (size_t)atoi(argv[4]) << 20);
	return take(fd, strcmp(argv[1], "echo") == 0);
}
