/* SPDX-License-Identifier: Apache-2.0 */
#include "password.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/str.h"
#include "text.h"

#define LINE_MAX_BYTES 16384u

void password_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void on_interrupt(int signal)
{
	(void)signal; /* read(2) ends with EINTR */
}

/* Read up to the end of the line or of the input.  Returns the length, or -errno. */
static ssize_t read_line(char *to)
{
	size_t n = 0;

	for (;;) {
		ssize_t got = read(STDIN_FILENO, to + n, 1); /* leaves the rest of the input */
		if (got < 0)
			return errno == EINTR ? -ECANCELED : -errno;
		if (got == 0 || to[n] == '\n')
			break;
		if (to[n] == '\0')
			return -EINVAL;
		if (++n == LINE_MAX_BYTES)
			return -EFBIG;
	}
	return (ssize_t)(n > 0 && to[n - 1] == '\r' ? n - 1 : n);
}

/* Ask on a terminal, and leave it as it was, also after Ctrl-C. */
static ssize_t ask(const char *question, bool secret, char *to)
{
	const struct sigaction interrupt = { .sa_handler = on_interrupt }; /* no SA_RESTART */
	struct sigaction before;
	struct termios was;

	if (tcgetattr(STDIN_FILENO, &was) < 0)
		return -errno;
	struct termios quiet = was;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	sigaction(SIGINT, &interrupt, &before);
	if (secret)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	print_text(stderr, question);
	fputs(": ", stderr);
	fflush(stderr);
	ssize_t n = read_line(to);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &was);
	sigaction(SIGINT, &before, NULL);
	if (secret || n == -ECANCELED)
		fputc('\n', stderr);
	return n;
}

int password_read(struct cli_context *c, const char *question, bool secret, char **ret)
{
	AUTO_PASSWORD char *line = calloc(1, LINE_MAX_BYTES + 1);

	if (!line)
		return -ENOMEM;
	ssize_t n = isatty(STDIN_FILENO) ? ask(question, secret, line) : read_line(line);
	if (n == -ECANCELED)
		return cli_error(c, -ECANCELED, "the login was cancelled");
	if (n < 0)
		return cli_error(c, (int)n, "cannot read the %s: %s", question, strerror((int)-n));
	if (n == 0)
		return cli_error(c, -EINVAL, "the %s is empty", question);
	*ret = strndup(line, (size_t)n);
	explicit_bzero(line, LINE_MAX_BYTES);
	return *ret ? 0 : -ENOMEM;
}
