/* SPDX-License-Identifier: Apache-2.0 */
#include "scripted_firecracker.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/pages.h"

#define NO_CONTENT "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"
#define FAULT                                                                                      \
	"HTTP/1.1 400 \r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n"            \
	"{\"fault_message\":\"not today\"}"
#define NO_MEMORY                                                                                  \
	"HTTP/1.1 400 \r\nContent-Type: application/json\r\nContent-Length: 74\r\n\r\n"            \
	"{\"fault_message\":\"Cannot perform open on the memory backing file: EISDIR\"}"
#define NO_REASON "HTTP/1.1 500 \r\nContent-Length: 4\r\n\r\nOops"

static void answer(int fd, const char *text)
{
	send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Write "device state" with its checksum, or with a wrong one. */
static void write_state(const char *name, bool good)
{
	uint8_t text[20] = "device state";
	uint64_t crc = crc64_jones(0, text, 12) ^ !good;
	for (int i = 0; i < 8; i++)
		text[12 + i] = (uint8_t)(crc >> (8 * i));
	if (access(FC_MEMORY_FILE, W_OK) == 0)
		file_create_at(AT_FDCWD, name, text, sizeof(text), 0600);
}

static int call_as_the_guest(const char *text)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = FC_AGENT_SOCKET };
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		answer(fd, text); /* and the connection stays */
	return fd;
}

/* What a clone that is kept asks for, besides its answers. */
static struct {
	char *memory; /* mapped */
	bool saved;   /* the connection is lost */
} clone_of;

/* The guest's memory is mapped, and its agent and somebody else call. */
static void load(void)
{
	int fd = open(FC_MEMORY_FILE, O_RDONLY);
	clone_of.memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	call_as_the_guest("hi");
	call_as_the_guest("not me");
}

/* The guest counts its pauses and resumes.  After a save its agent calls again, and repeats the
 * word that waits for it. */
static void count(const char *body)
{
	char word[5] = "";
	if (!clone_of.memory)
		return;
	clone_of.memory[SCRIPTED_FIRECRACKER_OWN_PAGE * PAGES_SIZE]++;
	if (!clone_of.saved || !strstr(body, "Resumed"))
		return;
	clone_of.saved = false;
	int fd = call_as_the_guest("");
	(void)!recv(fd, word, 4, MSG_WAITALL);
	answer(fd, word);
}

static void save_devices(void)
{
	unlink(FC_DEVICES_FILE);
	write_state(FC_DEVICES_FILE, true);
	clone_of.saved = true;
}

/* Do what the script says, or give the normal answer. */
static void act(int fd, const char *what, const char *path)
{
	if (str_eq(what, "refuse"))
		answer(fd, FAULT);
	else if (str_eq(what, "no-reason"))
		answer(fd, NO_REASON);
	else if (str_eq(what, "garbage"))
		answer(fd, "garbage\r\n\r\n");
	else if (str_eq(what, "hang-up"))
		close(fd);
	else if (str_eq(what, "die"))
		(void)!write(2, "it went wrong\n", 14);
	else if (!str_eq(what, "mute"))
		answer(fd, NO_CONTENT);
	if (str_eq(what, "die"))
		_exit(5);
	if (str_eq(what, "refuse") && str_eq(path, "/snapshot/load"))
		_exit(1); /* as Firecracker does */
	if (str_eq(what, "mute") || str_eq(what, "hang-up"))
		pause();
}

/* Read one request, and return its path and its body. */
static void read_request(int fd, char path[64], char ret_body[256])
{
	static char text[65536];
	static size_t len;
	for (;;) {
		char *end = memmem(text, len, "\r\n\r\n", 4), *field = NULL;
		size_t body = 0, head = end ? (size_t)(end - text) + 4 : 0;
		if (end && (field = memmem(text, head, "Content-Length: ", 16)))
			body = strtoul(field + 16, NULL, 10);
		if (end && len >= head + body) {
			sscanf(text, "%*s %63s", path);
			snprintf(ret_body, 256, "%.*s", (int)body, text + head);
			len -= head + body;
			memmove(text, text + head + body, len);
			return;
		}
		ssize_t n = recv(fd, text + len, sizeof(text) - len, 0);
		if (n <= 0)
			_exit(0);
		len += (size_t)n;
	}
}

/* Obey so late that another request has come.  The exit status tells which. */
static _Noreturn void obey_late(int fd)
{
	char path[64] = "", body[256] = "";
	read_request(fd, path, body);
	_exit(str_eq(path, "/vm") && strstr(body, "Resumed") ? 7 : 8);
}

static _Noreturn void serve(int fd, const char *what, const char *where)
{
	for (;;) {
		char path[64] = "", body[256] = "";
		read_request(fd, path, body);
		bool here = str_eq(path, where);
		bool links = here && str_eq(what, "link-state");
		bool saves = strstr(body, FC_DEVICES_FILE);
		if (str_eq(path, "/snapshot/load"))
			load();
		if (str_eq(path, "/vm"))
			count(body);
		if (saves)
			save_devices();
		else if (str_eq(path, "/snapshot/create") && !(here && str_eq(what, "no-state")))
			write_state(links ? "state" : FC_STATE_FILE,
				    !(here && str_eq(what, "bad-state")));
		if (links)
			(void)!symlink("state", FC_STATE_FILE);
		if (str_eq(path, "/actions"))
			call_as_the_guest("hi");
		if (here && str_eq(what, "late-answer"))
			obey_late(fd);
		if (saves && !here)
			answer(fd, NO_MEMORY);
		else
			act(fd, here ? what : "", path);
	}
}

/* "--version" and "--snapshot-version" */
static _Noreturn void tell_versions(const char *question)
{
	const char *version = getenv("PEER_VERSION");
	bool of_program = str_eq(question, "--version");
	printf("%s%s\n", of_program ? "" : "v", of_program ? version : "10.0.0");
	fflush(stdout);
	_exit(0);
}

static _Noreturn void be_the_peer(char **argv)
{
	char what[32] = "", where[64] = "";
	const char *script = getenv("PEER");
	if (strcmp(argv[1], "--id") == 0 && !script && environ[0])
		_exit(6); /* it shall not see its user's environment */
	sscanf(script ? script : "", "%31s %63s", what, where);
	if (strcmp(argv[1], "--describe-snapshot") == 0) {
		/* probe the copy that is kept, not a file that others can still change */
		if (access(FC_API_SOCKET, F_OK) == 0)
			printf("where Firecracker works\n");
		printf("%s\n", str_eq(what, "other-format") ? "v9.9.9" : "v10.0.0");
		fflush(stdout);
		_exit(0);
	}
	if (str_eq(what, "end")) {
		(void)!write(2, "it went wrong\n", 14);
		_exit(3);
	}
	if (str_eq(what, "sleep"))
		pause();
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = FC_API_SOCKET };
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		_exit(4);
	if (str_eq(what, "late"))
		poll(NULL, 0, 30); /* bound, but not listening yet */
	listen(fd, 1);
	int client = accept(fd, NULL, NULL);
	serve(client, what, where);
}

void scripted_firecracker_run(int argc, char **argv)
{
	if (argc == 2 && str_eq(argv[1] + strlen(argv[1]) - 7, "version"))
		tell_versions(argv[1]);
	if (argc > 2)
		be_the_peer(argv);
}
