/* SPDX-License-Identifier: Apache-2.0 */
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/error.h"
#include "base/file.h"
#include "device.h"
#include "net/agent.h"

#define PORTS_DIR      "/sys/class/virtio-ports"
#define DEVICES_DIR    "/sys/bus/virtio/devices"
#define CONSOLE_DEVICE "0x0003" /* virtio 1.2, 5: device types */
#define NAME_MAX_SIZE  64u

/* How long a busy host may take to accept the vsock connection.  The kernel's default is two
 * seconds.  The agent tries only once, since the host accepts only the first connection. */
#define DIAL_TIMEOUT_S 60

/* Is text the first line of this file in sysfs? */
static bool file_says(int dir_fd, const char *folder, const char *file, const char *text)
{
	char path[320], got[NAME_MAX_SIZE];
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);
	if (n < 0)
		return false;
	got[n] = '\0';
	got[strcspn(got, "\n")] = '\0';
	return strcmp(got, text) == 0;
}

/* Find the subfolder of a sysfs folder whose file has this text.  Returns false if none does. */
static bool find_entry(const char *folder, const char *file, const char *text, char ret[256])
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || dir_list(dir, &names) < 0)
		return false;
	for (size_t i = 0; i < names.n; i++) {
		if (strlen(names.v[i]) < 256 && file_says(dir, names.v[i], file, text)) {
			snprintf(ret, 256, "%s", names.v[i]);
			return true;
		}
	}
	return false;
}

/* Open the serial port.  Returns 1 with the descriptor in *arg, 0 if it is missing, or -errno. */
static int try_serial(void *arg)
{
	char entry[256], path[300];
	int *ret_fd = arg;
	if (!find_entry(PORTS_DIR, "name", AGENT_PORT_NAME, entry))
		return 0;
	snprintf(path, sizeof(path), "/dev/%s", entry);
	*ret_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (*ret_fd < 0)
		return errno == ENOENT ? 0
				       : -errno; /* the device node appears after the sysfs entry */
	return 1;
}

int port_dial(struct mvm_error *err)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK,
		.svm_port = AGENT_VSOCK_PORT,
		.svm_cid = VMADDR_CID_HOST,
	};
	const struct timeval patience = { .tv_sec = DIAL_TIMEOUT_S };
	AUTO_CLOSE int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof(patience)) <
		    0 ||
	    connect(fd, (const struct sockaddr *)&host, sizeof(host)) < 0 ||
	    fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return mvm_error_set(err, -errno, "cannot reach the host over vsock: %s",
				     strerror(errno));
	return TAKE_FD(fd);
}

int port_open(int uevent_fd, int64_t deadline_ns, bool *ret_is_vsock, struct mvm_error *err)
{
	char entry[256];
	int fd = -1;

	*ret_is_vsock = !find_entry(DEVICES_DIR, "device", CONSOLE_DEVICE, entry);
	if (*ret_is_vsock)
		return port_dial(err);
	int r = device_wait(uevent_fd, deadline_ns, try_serial, &fd);
	if (r < 0)
		return mvm_error_set(err, r, "no port '" AGENT_PORT_NAME "': %s", strerror(-r));
	return fd;
}
