/* SPDX-License-Identifier: Apache-2.0 */
#include "etc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent.h"
#include "base/file.h"
#include "base/str.h"

#define HOSTS_MAX (256u << 10)
#define MARK	  "# mvm"

static int write_in_place(int etc_fd, const char *name, const char *text)
{
	AUTO_CLOSE int fd = openat(etc_fd, name, O_WRONLY | O_TRUNC | O_CLOEXEC);
	return fd < 0 ? -errno : file_write_all(fd, text, strlen(text));
}

void etc_write(const char *name, const char *text, mode_t mode)
{
	if (mkdir("/etc", 0755) < 0 && errno != EEXIST) {
		agent_log("cannot make /etc: %s", strerror(errno));
		return;
	}
	AUTO_CLOSE int etc_fd = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = etc_fd < 0 ? -errno
			   : file_replace_at(etc_fd, etc_fd, name, text, strlen(text), mode);
	if (r == -EBUSY)
		r = write_in_place(etc_fd, name, text); /* the file is a mount point */
	if (r < 0)
		agent_log("cannot write /etc/%s: %s", name, strerror(-r));
}

void etc_hosts_common(const char *old, struct strbuf *ret)
{
	const char *next;

	if (!old)
		old = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
	for (const char *line = old; *line; line = next) {
		size_t len = strcspn(line, "\n");
		next = line + len + (line[len] == '\n');
		if (len >= strlen(MARK) &&
		    memcmp(line + len - strlen(MARK), MARK, strlen(MARK)) == 0)
			continue;
		strbuf_add(ret, line, len);
		strbuf_adds(ret, "\n");
	}
}

bool etc_hosts_in_order(const char *text)
{
	AUTO_DONE(strbuf) common = { 0 };
	etc_hosts_common(text, &common);
	return !common.failed && (!common.len || strncmp(text, common.data, common.len) == 0);
}

void etc_hosts_add(struct strbuf *hosts, const char *hostname)
{
	char name[HOSTNAME_MAX];
	size_t len = strnlen(hostname, sizeof(name));
	memset(name, ' ', sizeof(name));
	memcpy(name, hostname, len); /* not by printf, which is much new code for a fresh clone */
	strbuf_adds(hosts, "127.0.1.1\t");
	strbuf_add(hosts, name, sizeof(name));
	strbuf_adds(hosts, " " MARK "\n");
}

void etc_set_hostname(const char *hostname)
{
	AUTO_FREE char *old = NULL;
	AUTO_FREE char *line = str_printf("%s\n", hostname);
	AUTO_DONE(strbuf) hosts = { 0 };

	int r = file_read_at(AT_FDCWD, "/etc/hosts", HOSTS_MAX, &old, NULL);
	etc_hosts_common(r < 0 ? NULL : old, &hosts);
	etc_hosts_add(&hosts, hostname);
	if (!line || hosts.failed) {
		agent_log("cannot write /etc/hosts: out of memory");
		return;
	}
	etc_write("hostname", line, 0644);
	if (r == 0 || r == -ENOENT)
		etc_write("hosts", hosts.data, 0644);
	else
		agent_log("cannot read /etc/hosts: %s", strerror(-r));
}
