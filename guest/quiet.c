/* SPDX-License-Identifier: Apache-2.0 */
#include "quiet.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <sys/io.h>
#endif

#include "base/file.h"
#include "base/own.h"

#define PIT_CHANNEL_0 0x40
#define PIT_COMMAND   0x43

static void set(const char *path, const char *value)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		file_write_all(fd, value, strlen(value)); /* it only sleeps less */
}

static bool ticks_by_lapic(void)
{
	char name[32];
	AUTO_CLOSE int fd = open("/sys/devices/system/clockevents/clockevent0/current_device",
				 O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof(name));
	return n >= 5 && memcmp(name, "lapic", 5) == 0;
}

/* Source: Linux arch/x86/kernel, drivers/clocksource/i8253.c, pit_shutdown(): in mode 0 channel 0
 * fires once. */
static void stop_pit(void)
{
#if defined(__x86_64__)
	if (!ticks_by_lapic() || ioperm(PIT_CHANNEL_0, 4, 1) < 0)
		return;
	outb(0x30, PIT_COMMAND);
	outb(0, PIT_CHANNEL_0);
	outb(0, PIT_CHANNEL_0);
	ioperm(PIT_CHANNEL_0, 4, 0); /* cannot fail */
#endif
}

void quiet_guest(void)
{
	set("/proc/sys/vm/compaction_proactiveness", "0");
	set("/proc/sys/vm/stat_interval", "60");
	set("/proc/sys/kernel/watchdog", "0");
	stop_pit();
}
