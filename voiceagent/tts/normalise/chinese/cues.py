"""Words around a number that tell what kind of number it is, in Chinese."""

import re

from voiceagent.tts.normalise.spans import Match

MEASURES = (
    "个|位|名|人|只|头|条|张|本|件|台|辆|架|艘|栋|座|间|家|所|份|封|首|部|场|次|回|遍|趟|顿|口|杯|瓶|碗|盘|盒|包|袋|箱|桶|片|块|颗|粒|根|支|枝|朵"
    "|棵|株|把|双|对|副|套|组|群|排|列|层|圈|句|段|篇|项|种|类|样|笔|道|门|节|课|天|小时|分钟|秒钟|秒|刻钟|周|星期|个月|年|岁|倍|元|块|毛|角|分钱"
    "|米|公里|千米|厘米|毫米|里|公斤|千克|克|斤|两|吨|升|毫升|平方米|立方米|平米|亩|公顷|度|点|点钟|代|步|句话|字|页|行|轮|批|班次|成|折|万|亿|千|百"
    "|套房|室一厅|室|厅|美元|欧元|英镑|港元|港币|日元|摄氏度|户|桌|票|下|声|面|滴|束|串|堆|餐"
)
"""Words that count: two before them is 两."""

_CODE = re.compile(
    "(?:验证码|校验码|激活码|邀请码|兑换码|取件码|取货码|提货码|核销码|密码|口令|暗号|编号|编码|代码|代号|区号|邮编|邮政编码|订单号?|单号|运单号?|快递单?号?"
    "|账号|帐号|账户|卡号|银行卡号?|信用卡号?|尾号|末尾|后四位|学号|工号|证号|证件号码?|身份证号?码?|护照号?码?|车牌号?|号码|流水号|序列号|发票号?|合同号"
    "|病历号|床号|座位号|会员号|会议号|群号|QQ号?|微信号?|PIN码?|pin码?|ID|id|IP|型号|案号|凭证号|票号|机号|特工|代号)"
    '(?:[\\s:：=#,，"“‘「（(]|是|为|就是|分别|您的|你的|我的|的|码|号|改成|变成|换成|输入|填写|请|后四位|末四位|京|沪|粤|[京沪津渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z]?)*$'
)
_PHONE = re.compile(
    "(?:(?<=[0-9])\\s?转|电话|手机|座机|热线|客服|拨打|拨|致电|呼叫|打给|打|联系|来电|传真|分机号?|短信|发送到|火警|报警|匪警|急救|急救车|救护车|号码|专线|总机|寻呼)"
    '(?:[\\s:：=,，"“（(]|是|为|号|码|号码|电话|热线|到|给|请|我的|您的|可以|或|或者|和|、|\\d{3,5})*$'
)
_ROOM = re.compile("(?:房间号?|房号|门牌号?|包间|包厢|教室|会议室|宿舍|病房)(?:[\\s:：]|是|为|在|号)*$")
_ROOM_AFTER = re.compile("\\s?(?:号?房间|号?房|室(?!内|外|温|友)|号?教室|号?病房|号?会议室|号?包间|寝室|宿舍)")
_FLIGHT = re.compile("(?:航班号?|班机|车次|列车|高铁|动车|火车)(?:[\\s:：]|是|为|号)*$")


def tail(found: Match) -> str:
    return found.string[max(0, found.start() - 30) : found.start()]


def is_code(found: Match) -> bool:
    return _CODE.search(tail(found)) is not None


def is_dialled(found: Match) -> bool:
    """A telephone number by the words before it, unless it counts something."""
    if re.match(f"\\s?(?:{MEASURES})", found.string[found.end() :]):
        return False
    return _PHONE.search(tail(found)) is not None


def is_room(found: Match) -> bool:
    return _ROOM.search(tail(found)) is not None or _ROOM_AFTER.match(found.string, found.end()) is not None


def is_flight(found: Match) -> bool:
    after = found.string[found.end() : found.end() + 3]
    return _FLIGHT.search(tail(found)) is not None or re.match("次(?:列车|航班|高铁|动车)", after) is not None
