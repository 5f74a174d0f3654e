"""The sweep of mails: it takes one at a time, talks to the mail server between transactions, and stops when that cannot
be reached."""

import logging
from datetime import datetime

from billing.jobs.swept import KeepGoing, SweepClock, Swept, to_the_end
from billing.letters import compose
from billing.postbox import MailRefused, MailServerUnavailable, post
from billing.services.mail import claim_mail, record_mail_failure, record_mail_sent

logger = logging.getLogger(__name__)


def send_mails(at: datetime, keep_going: KeepGoing = to_the_end) -> Swept:
    """Send queued mails until none is due or the mail server cannot be reached."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (mail := claim_mail(at=at, now=clock.now())) is not None:
        try:
            post(compose(mail))
        except MailServerUnavailable as error:
            record_mail_failure(mail=mail.id, error=str(error), at=at)
            swept.unavailable = str(error)
            swept.fail(f"{mail.id}: {error}")
            break
        except MailRefused as error:
            logger.error("mail %s was refused: %s", mail.id, error)
            record_mail_failure(mail=mail.id, error=str(error), at=at, is_final=error.is_final)
            swept.fail(f"{mail.id}: {error}")
        except Exception as error:
            logger.exception("mail %s could not be written", mail.id)
            record_mail_failure(mail=mail.id, error=f"{type(error).__name__}: {error}", at=at)
            swept.fail(f"{mail.id}: {error}")
        else:
            record_mail_sent(mail=mail.id, at=at)
            swept.done += 1
    return swept
