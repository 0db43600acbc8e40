/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract guest for backends whose agent channel is vsock.  It calls the host and answers the
 * lines that the script in make_guest.py answers.  A snapshot loses the connection, so it calls
 * again; the count and the nonce stay in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "net/agent.h"

static char nonce[40];
static unsigned count;

static int dial(void)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK,
		.svm_port = AGENT_VSOCK_PORT,
		.svm_cid = VMADDR_CID_HOST,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&host, sizeof(host)) == 0)
		return fd;
	perror("vsock");
	return -1;
}

static void answer(int fd, const char *line)
{
	char disk[9] = "";
	if (strcmp(line, "nonce") == 0) {
		dprintf(fd, "nonce %s\n", nonce);
	} else if (strcmp(line, "count") == 0) {
		dprintf(fd, "count %u\n", ++count);
	} else if (strcmp(line, "disk") == 0) {
		int disk_fd = open("/dev/vda", O_RDONLY);
		(void)!read(disk_fd, disk, 8);
		disk[strcspn(disk, "\n")] = '\0';
		close(disk_fd);
		dprintf(fd, "disk %s\n", disk);
	} else if (strcmp(line, "off") == 0) {
		reboot(RB_AUTOBOOT); /* ends Firecracker */
	}
}

/* Answer lines until the connection ends. */
static void serve(int fd)
{
	char line[64];
	size_t len = 0;
	char c;
	while (read(fd, &c, 1) == 1) {
		if (c != '\n') {
			if (len < sizeof(line) - 1)
				line[len++] = c;
			continue;
		}
		line[len] = '\0';
		len = 0;
		answer(fd, line);
	}
}

int main(void)
{
	int random_fd = open("/proc/sys/kernel/random/uuid", O_RDONLY);
	if (read(random_fd, nonce, sizeof(nonce) - 1) < 36)
		return 1;
	nonce[36] = '\0';
	int fd = dial();
	if (fd >= 0)
		dprintf(fd, "hello\n");
	while (fd >= 0) {
		serve(fd);
		close(fd);
		fprintf(stderr, "calling again\n");
		fd = dial();
	}
	return 1;
}
