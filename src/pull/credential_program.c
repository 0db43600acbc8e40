/* SPDX-License-Identifier: Apache-2.0 */
/* Asks a credential helper of docker's: the server's name goes in, a JSON object comes out. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "base/str.h"
#include "codec/json.h"
#include "pull/credentials.h"

#define ANSWER_MAX 65536u
#define PATIENCE_S 60
#define NOT_FOUND  "credentials not found"

/* Read all its output before the deadline. */
static int read_answer(int fd, const struct mvm_progress *progress, int64_t deadline_ns,
		       struct strbuf *ret)
{
	for (;;) {
		int r = progress_wait(progress, fd, deadline_ns);
		char *to = r < 0 ? NULL : strbuf_room(ret, 4096);
		if (!to)
			return r < 0 ? r : -ENOMEM;
		ssize_t n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		strbuf_added(ret, (size_t)n);
		if (ret->len > ANSWER_MAX)
			return -EFBIG;
	}
}

static int run(char *name, const char *server, const struct mvm_progress *progress,
	       struct strbuf *ret, int *ret_status)
{
	char get[] = "get";
	char *const argv[] = { name, get, NULL };
	const int64_t deadline = clock_deadline_ns((int64_t)PATIENCE_S * 1000);
	AUTO_DONE(process) child = { 0 };
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int in_read = in[0];
	AUTO_CLOSE int in_write = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	AUTO_CLOSE int out_read = out[0];
	AUTO_CLOSE int out_write = out[1];
	/* the name is shorter than a pipe's room, so this never waits */
	int r = file_write_all(in_write, server, strlen(server));
	if (r < 0)
		return r;
	const struct process_spec spec = { .argv = argv,
					   .cwd_fd = AT_FDCWD,
					   .stdin_fd = in_read,
					   .stdout_fd = out_write,
					   .stderr_fd = -1,
					   .flags = PROCESS_DIE_WITH_PARENT };
	r = process_spawn(&spec, &child);
	close(TAKE_FD(in_write));
	close(TAKE_FD(out_write));
	if (r == 0)
		r = read_answer(out_read, progress, deadline, ret);
	return r < 0 ? r : process_wait(&child, deadline, ret_status);
}

static int take_answer(const struct strbuf *answer, struct credentials *ret)
{
	AUTO_FREE char *user = NULL, *secret = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	if (json_read(answer->data ? answer->data : "", answer->len, "answer", &doc, NULL) < 0 ||
	    !json_is_object(doc))
		return -EPROTO;
	json_root(&root, "answer", doc);
	if (json_get_string(&root, "Username", JSON_REQUIRED, &user, NULL) < 0 ||
	    json_get_string(&root, "Secret", JSON_REQUIRED, &secret, NULL) < 0)
		return -EPROTO;
	if (str_eq(user, "<token>")) {
		ret->identity = TAKE_PTR(secret);
	} else {
		ret->user = TAKE_PTR(user);
		ret->password = TAKE_PTR(secret);
	}
	return 1;
}

int credential_program_ask(const char *program, const char *host,
			   const struct mvm_progress *progress, struct credentials *ret,
			   struct mvm_error *err)
{
	AUTO_FREE char *name = str_printf("docker-credential-%s", program);
	AUTO_DONE(strbuf) answer = { 0 };
	int status = 0;

	if (!name)
		return mvm_error_oom(err);
	int r = run(name, credentials_server(host), progress, &answer, &status);
	if (r == -ECANCELED)
		return mvm_error_set(err, r, "asking %s was cancelled", name);
	if (r < 0) {
		r = mvm_error_set(err, r, "cannot get credentials for %s: %s: %s", host, name,
				  strerror(-r));
		return mvm_error_hint(err, r,
				      "docker's config.json names this program: install it, or "
				      "remove its name there");
	}
	if (status != 0 && answer.data && strstr(answer.data, NOT_FOUND))
		return 0;
	r = status == 0 ? take_answer(&answer, ret) : -EACCES;
	if (answer.data)
		explicit_bzero(answer.data, answer.len);
	return r < 0 ? mvm_error_set(err, r, "cannot get credentials for %s: %s %s", host, name,
				     status ? "fails" : "prints no credentials")
		     : r;
}
