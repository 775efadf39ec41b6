from voiceagent.channels.telephone.call import Call


def test_a_call_has_the_memory_of_its_caller() -> None:
    assert Call("twilio", caller="+49 123 45").user == "+49 123 45"
    assert Call("twilio", parameters={"from": "sip:12345@example.com"}).user == "sip:12345@example.com"


def test_who_withholds_their_number_has_none() -> None:
    for caller in ("", "anonymous", "Restricted", "+1", "100"):
        assert Call("twilio", caller=caller).user == ""
