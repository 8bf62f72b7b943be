from tests.e2e.guest.guest import words

# A serial port's log: firmware, init, a complaint of the kernel, and a line that is not finished.
LOG = (
    "\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.2-debian-1.16.2-1)\r\n"
    "Booting from ROM...\r\n"
    "\x1bc\x1b[?7l\x1b[2Jguest: up: Linux 6.1.0-56-cloud-amd64, 2.43 s after power-on\r\n"
    "[   10.1] I/O error, dev sda, sector 8 op 0x1:(WRITE)\r\n"
    "guest: sda is gone\r\n"
    "guest: sdb appea"
)


def test_words_are_what_init_said_in_whole_lines() -> None:
    assert words(LOG) == [
        "up: Linux 6.1.0-56-cloud-amd64, 2.43 s after power-on",
        "sda is gone",
    ]


def test_no_words_before_the_port_was_opened() -> None:
    assert words("") == []
